/* SPDX-License-Identifier: Apache-2.0 */
/* metrics.h - the numbers of all processes as one OpenMetrics or Prometheus text. */
#ifndef METRICS_H
#define METRICS_H

#include "control.h"
#include "totals.h"

struct evbuffer;

#define METRICS_TYPE_OPEN  "application/openmetrics-text; version=1.0.0; charset=utf-8"
#define METRICS_TYPE_PLAIN "text/plain; version=0.0.4; charset=utf-8"

/** metrics_process - everything @p has counted in all its lives, and its gauges, into @t (added). */
void metrics_process(struct process *p, struct totals *t);

/** metrics_hub - the same over all processes. @t is cleared first. */
void metrics_hub(struct control *c, struct totals *t);

/** metrics_render - append the whole exposition to @out. @open  OpenMetrics 1.0 instead of Prometheus text 0.0.4. */
void metrics_render(struct control *c, struct evbuffer *out, bool open);

#endif
