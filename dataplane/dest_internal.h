/* SPDX-License-Identifier: Apache-2.0 */
/* dest_internal.h - what dest_mllp.c (lanes: connecting, events, time) and dest_send.c (composing) share. */
#ifndef MILLRACE_DEST_INTERNAL_H
#define MILLRACE_DEST_INTERNAL_H

#include "core.h"

#define ITEM_NONE UINT32_MAX

static inline const struct mr_config_dest *lane_cfg(const struct core *c, const struct lane *l)
{
	return mr_config_dest(c->cfg, l->dest);
}

/* dest_mllp.c */
uint32_t lane_pop_wait(struct core *c, struct lane *l);
void lane_outstanding(struct core *c, struct lane *l, int32_t change);
void lane_arm(struct core *c, struct lane *l);
uint64_t lane_patience_ns(const struct core *c, const struct lane *l);

/* dest_send.c */
void lane_give_out(struct core *c, struct lane *l);
void lane_give_ahead(struct core *c, struct lane *l);
void lane_compose(struct core *c, struct lane *l); /* send what the window allows */

#endif
