/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - the control process's small durable state, in SQLite. Used by main.c, ctl.c and handoff.c on the control
 * loop. Writes are an operator's, one at a time, and wait for the disk; reads come from memory.
 */
#include "store.h"

#include "log.h"
#include "mr_base.h"

#include <errno.h>
#include <inttypes.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

struct store_item {
	char name[MR_NAME_BYTES];
	bool paused;
};

struct store {
	sqlite3 *db;
	struct store_item *items;
	uint32_t count;
};

static const char store_schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA busy_timeout=2000;"
    "CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS item_state (kind TEXT NOT NULL, name TEXT NOT NULL,"
    " paused INTEGER NOT NULL, changed INTEGER NOT NULL, PRIMARY KEY (kind, name)) WITHOUT ROWID;"
    "INSERT OR IGNORE INTO meta VALUES ('schema', '1');";

static int store_remember(struct store *s, const char *name, bool paused)
{
	struct store_item *grown;

	for (uint32_t i = 0; i < s->count; i++)
		if (!strcmp(s->items[i].name, name)) {
			s->items[i].paused = paused;
			return 0;
		}
	grown = realloc(s->items, (s->count + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	s->items = grown;
	snprintf(grown[s->count].name, sizeof(grown->name), "%s", name);
	grown[s->count++].paused = paused;
	return 0;
}

static int store_load(struct store *s)
{
	sqlite3_stmt *q;
	int r =
	    sqlite3_prepare_v2(s->db, "SELECT name, paused FROM item_state WHERE kind = 'destination'", -1, &q, NULL);

	if (r != SQLITE_OK)
		return r;
	while ((r = sqlite3_step(q)) == SQLITE_ROW)
		if (store_remember(s, (const char *)sqlite3_column_text(q, 0), sqlite3_column_int(q, 1) != 0) < 0)
			break;
	sqlite3_finalize(q);
	return r == SQLITE_DONE ? SQLITE_OK : r;
}

static int store_try(const char *path, struct store *s)
{
	int r = sqlite3_open_v2(path, &s->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);

	if (r == SQLITE_OK)
		r = sqlite3_exec(s->db, store_schema, NULL, NULL, NULL);
	return r == SQLITE_OK ? store_load(s) : r;
}

static void store_set_aside(const char *path)
{
	static const char *const parts[] = {"", "-wal", "-shm"};
	char from[700], to[720];

	for (size_t i = 0; i < MR_ARRAY_LEN(parts); i++) {
		snprintf(from, sizeof(from), "%s%s", path, parts[i]);
		snprintf(to, sizeof(to), "%s.damaged%s", path, parts[i]);
		rename(from, to);
	}
	log_event(LOG_STORE_REPLACED, NULL, "%s is damaged: set aside as control.db.damaged and begun anew", path);
}

int store_open(const char *data, struct store **ret)
{
	struct store *s = calloc(1, sizeof(*s));
	char path[640];
	int r;

	must(s);
	snprintf(path, sizeof(path), "%s/control.db", data);
	r = store_try(path, s);
	if (r == SQLITE_CORRUPT || r == SQLITE_NOTADB) {
		sqlite3_close(s->db);
		s->db = NULL;
		store_set_aside(path);
		r = store_try(path, s);
	}
	if (r != SQLITE_OK) {
		log_event(LOG_STORE_FAILED, NULL, "%s: %s", path, s->db ? sqlite3_errmsg(s->db) : sqlite3_errstr(r));
		store_close(s);
		return -EIO;
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	sqlite3_close(s->db);
	free(s->items);
	free(s);
}

int store_paused(const struct store *s, const char *name)
{
	for (uint32_t i = 0; i < s->count; i++)
		if (!strcmp(s->items[i].name, name))
			return s->items[i].paused;
	return -1;
}

static int store_fail(struct store *s)
{
	log_event(LOG_STORE_FAILED, NULL, "control.db: %s", sqlite3_errmsg(s->db));
	return -EIO;
}

int store_set_paused(struct store *s, const char *name, bool paused)
{
	sqlite3_stmt *q;
	int r = sqlite3_prepare_v2(s->db, "INSERT OR REPLACE INTO item_state VALUES ('destination', ?, ?, ?)", -1, &q,
	                           NULL);

	if (r != SQLITE_OK)
		return store_fail(s);
	sqlite3_bind_text(q, 1, name, -1, SQLITE_STATIC);
	sqlite3_bind_int(q, 2, paused);
	sqlite3_bind_int64(q, 3, (sqlite3_int64)time(NULL));
	r = sqlite3_step(q);
	sqlite3_finalize(q);
	if (r != SQLITE_DONE || store_remember(s, name, paused) < 0)
		return store_fail(s);
	return 0;
}

static uint64_t store_meta(struct store *s, const char *key)
{
	sqlite3_stmt *q;
	uint64_t v = 0;

	if (sqlite3_prepare_v2(s->db, "SELECT value FROM meta WHERE key = ?", -1, &q, NULL) != SQLITE_OK)
		return 0;
	sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
	if (sqlite3_step(q) == SQLITE_ROW)
		v = strtoull((const char *)sqlite3_column_text(q, 0), NULL, 10);
	sqlite3_finalize(q);
	return v;
}

static int store_set_meta(struct store *s, const char *key, uint64_t value)
{
	sqlite3_stmt *q;
	char text[24];
	int r = sqlite3_prepare_v2(s->db, "INSERT OR REPLACE INTO meta VALUES (?, ?)", -1, &q, NULL);

	if (r != SQLITE_OK)
		return store_fail(s);
	snprintf(text, sizeof(text), "%" PRIu64, value);
	sqlite3_bind_text(q, 1, key, -1, SQLITE_STATIC);
	sqlite3_bind_text(q, 2, text, -1, SQLITE_STATIC);
	r = sqlite3_step(q);
	sqlite3_finalize(q);
	return r == SQLITE_DONE ? 0 : store_fail(s);
}

int store_generation(struct store *s, uint64_t text_hash, uint64_t *ret)
{
	uint64_t generation = store_meta(s, "generation");

	if (!generation || store_meta(s, "text_hash") != text_hash) {
		generation++;
		if (sqlite3_exec(s->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK)
			return store_fail(s);
		if (store_set_meta(s, "generation", generation) < 0 || store_set_meta(s, "text_hash", text_hash) < 0) {
			sqlite3_exec(s->db, "ROLLBACK", NULL, NULL, NULL);
			return -EIO;
		}
		if (sqlite3_exec(s->db, "COMMIT", NULL, NULL, NULL) != SQLITE_OK)
			return store_fail(s);
	}
	*ret = generation;
	return 0;
}
