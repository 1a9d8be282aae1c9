/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_base.h - what every header of the cross-process interface stands on: atomics on plain integers, must(), limits.
 *
 * Shared structs use plain fixed-width integers and the __atomic builtins, because C++ (bench/) and other processes read
 * them too. Each shared cache line has one writer; the struct's comment names it.
 */
#ifndef MR_BASE_H
#define MR_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#define MR_STATIC_ASSERT static_assert
#else
#define MR_STATIC_ASSERT _Static_assert
#endif

#define MR_CACHELINE          64
#define MR_NAME_BYTES         64   /* longest item name with its NUL */
#define MR_WORKERS_MAX        64   /* workers of one hub */
#define MR_PEERS_MAX          72   /* workers and connectors; the peers' numbers are 0..MR_PEERS_MAX-1, workers first */
#define MR_CONNECTOR_FILE     64   /* peer number of the file connector */
#define MR_LISTENERS_MAX      1024
#define MR_DESTINATIONS_MAX   1024
#define MR_MSG_DESTS_MAX      64   /* destinations of one message */
#define MR_LANES_MAX          64   /* connections (and so ordering lanes) of one destination */
#define MR_ROUTES_MAX         4096

#define MR_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

/* Says where and what, then aborts: a programmer error, never a matter of input. On in release builds too. */
__attribute__((noreturn, cold)) void mr_must_fail(const char *file, int line, const char *what);
#define must(x) (__builtin_expect(!!(x), 1) ? (void)0 : mr_must_fail(__FILE__, __LINE__, #x))

static inline uint64_t mr_load(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_ACQUIRE);
}

static inline void mr_store(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELEASE);
}

static inline uint64_t mr_load_relaxed(const uint64_t *p)
{
	return __atomic_load_n(p, __ATOMIC_RELAXED);
}

/* For a counter with one writer: readers may see it late, never torn. */
static inline void mr_add_own(uint64_t *p, uint64_t n)
{
	__atomic_store_n(p, __atomic_load_n(p, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void mr_set_own(uint64_t *p, uint64_t v)
{
	__atomic_store_n(p, v, __ATOMIC_RELAXED);
}

static inline uint64_t mr_align_up(uint64_t v, uint64_t to)
{
	return (v + to - 1) & ~(to - 1);
}

#ifdef __cplusplus
}
#endif
#endif
