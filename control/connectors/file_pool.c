/* SPDX-License-Identifier: Apache-2.0 */
/*
 * file_pool.c - the threads that wait for disks, so that the connector's loop never does.
 *
 * The loop gives jobs and takes them back; every job belongs to one destination, which has a fixed number of them, so
 * the queue is bounded by its own making. Threads touch nothing of the loop's but the job they were given.
 */
#include "file.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <time.h>

#define POOL_STACK_BYTES (512u << 10)
#define POOL_END_WAIT_S  2

static void job_run(struct file_thread *t, struct file_job *job)
{
	switch (job->kind) {
	case FILE_JOB_PROBE:
		file_probe_run(job);
		break;
	case FILE_JOB_GROUP:
		file_group_run(t, job);
		break;
	case FILE_JOB_BATCH:
		file_batch_run(t, job);
		break;
	}
}

static void *thread_main(void *arg)
{
	struct file_thread *t = arg;
	struct file_pool *p = t->pool;
	struct file_job *job, **last;

	pthread_mutex_lock(&p->lock);
	for (;;) {
		while (!p->todo && !p->ending)
			pthread_cond_wait(&p->work, &p->lock);
		job = p->todo;
		if (!job)
			break;
		p->todo = job->next;
		if (!p->todo)
			p->todo_last = &p->todo;
		pthread_mutex_unlock(&p->lock);
		job_run(t, job);
		pthread_mutex_lock(&p->lock);
		job->next = NULL;
		for (last = &p->done; *last; last = &(*last)->next)
			;
		*last = job;
		p->running--;
		if (p->done == job)
			eventfd_write(p->work_event, 1);
	}
	pthread_mutex_unlock(&p->lock);
	connector_reads_close(&t->reads);
	return NULL;
}

int file_pool_open(struct file_pool *p, struct connector_journals *journals, uint32_t threads, int work_event)
{
	pthread_attr_t attr;
	sigset_t all, old;
	int r = 0;

	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->work, NULL);
	pthread_cond_init(&p->memory, NULL);
	p->todo_last = &p->todo;
	p->work_event = work_event;
	p->thread = calloc(threads, sizeof(*p->thread));
	if (!p->thread)
		return -ENOMEM;
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, POOL_STACK_BYTES);
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, &old); /* signals are for the loop */
	while (!r && p->threads < threads) {
		struct file_thread *t = &p->thread[p->threads];

		t->pool = p;
		t->number = p->threads;
		t->reads.journals = journals;
		t->buffer = malloc(FILE_BUFFER_BYTES);
		r = t->buffer ? -pthread_create(&t->id, &attr, thread_main, t) : -ENOMEM;
		if (!r)
			p->threads++;
		else
			free(t->buffer);
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	if (r)
		file_pool_close(p);
	return r;
}

void file_pool_give(struct file_pool *p, struct file_job *job)
{
	job->next = NULL;
	pthread_mutex_lock(&p->lock);
	*p->todo_last = job;
	p->todo_last = &job->next;
	p->running++;
	pthread_cond_signal(&p->work);
	pthread_mutex_unlock(&p->lock);
}

struct file_job *file_pool_done(struct file_pool *p)
{
	struct file_job *done;

	pthread_mutex_lock(&p->lock);
	done = p->done;
	p->done = NULL;
	pthread_mutex_unlock(&p->lock);
	return done;
}

bool file_pool_close(struct file_pool *p)
{
	struct timespec until;
	bool hangs = false;

	pthread_mutex_lock(&p->lock);
	p->ending = true;
	pthread_cond_broadcast(&p->work);
	pthread_mutex_unlock(&p->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec += POOL_END_WAIT_S;
	for (uint32_t i = 0; i < p->threads; i++)
		hangs = pthread_timedjoin_np(p->thread[i].id, NULL, &until) != 0 || hangs;
	if (hangs)
		return false;
	for (uint32_t i = 0; i < p->threads; i++)
		free(p->thread[i].buffer);
	free(p->thread);
	pthread_cond_destroy(&p->memory);
	pthread_cond_destroy(&p->work);
	pthread_mutex_destroy(&p->lock);
	return true;
}
