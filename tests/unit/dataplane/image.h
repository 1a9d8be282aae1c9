/* SPDX-License-Identifier: Apache-2.0 */
/* image.h - a small configuration image in plain memory: two listeners, three destinations with 1, 3 and 2 lanes. */
#ifndef IMAGE_H
#define IMAGE_H

#include "mr_config.h"

#include <stdio.h>
#include <string.h>

struct image {
	struct mr_config c;
	struct mr_config_listener listener[2];
	struct mr_config_dest dest[3];
};

static inline void image_init(struct image *m)
{
	static const uint8_t lanes[3] = {1, 3, 2};

	memset(m, 0, sizeof(*m));
	m->c.generation = 7;
	m->c.listeners = (struct mr_config_table){offsetof(struct image, listener), 2};
	m->c.dests = (struct mr_config_table){offsetof(struct image, dest), 3};
	for (int i = 0; i < 2; i++)
		snprintf(m->listener[i].name, MR_NAME_BYTES, "in-%d", i);
	for (int i = 0; i < 3; i++) {
		snprintf(m->dest[i].name, MR_NAME_BYTES, "out-%d", i);
		m->dest[i].connections = lanes[i];
	}
}

#endif
