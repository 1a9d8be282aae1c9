/* SPDX-License-Identifier: Apache-2.0 */
/*
 * core_limits.h - fixed limits of a worker. What an operator may want to change is a setting; these are not.
 * Not named limits.h: that would hide the system header of this name from whoever has this folder in its search path.
 */
#ifndef MILLRACE_CORE_LIMITS_H
#define MILLRACE_CORE_LIMITS_H

#define CORE_IDLE_WAIT_NS    100000000u    /* longest sleep: heartbeat, link */
#define CORE_TICK_NS         100000000u    /* journal and gauges */
#define RECV_BUFFERS         1024          /* shared by all connections of a core */
#define RECV_BUFFER_BYTES    16384
#define FILES_IN_FLIGHT      512           /* file requests of a core */
#define FRAME_BLOCK_BYTES    4096          /* smallest block of the frame memory */
#define MSH_BYTES_MAX        16384         /* a longer one is refused: its answer, echoing it, would be as long at every hop */
#define ACK_OUT_BYTES        4096          /* acknowledgements of one connection that wait to be sent */
#define ACK_WAIT_MAX         131072        /* acknowledgements of a core that wait for their commit; power of two */
#define STALL_RETRY_NS       2000000u      /* a connection that waits for room is looked at again after this */
#define STALL_RETRIES_A_TURN 256
#define DISCARD_NS           2000000000u   /* after a refusal that ends the connection: read on this long, so the answer arrives */
#define DISCARD_BYTES        (64u << 20)
#define LANE_CREDIT          256           /* mr_config_credit() of an MLLP destination */
#define LANE_OUT_BYTES       65536         /* outgoing bytes composed at once */
#define LANE_ANSWER_BYTES    65536         /* longest answer accepted from a destination */
#define LANE_READ_BYTES      262144        /* read-ahead in a journal file for messages no longer in the tail */
#define LANE_FILE_RETRY_NS   1000000000u   /* a journal file that cannot be opened now is tried again after this */
#define LANE_NO_ANSWER_NS    1000000000u   /* answers: auto: a message that asks for no answer is given this long */
#define LANE_IDS_REMEMBERED  64            /* control IDs no longer outstanding, to tell a late answer from an unknown one */
#define QUEUE_CHUNK_ENTRIES  512
#define QUEUE_CHUNKS_KEPT    1024          /* for what was accepted and is not queued yet: nothing is accepted beyond */
#define QUEUE_ENTRIES_MAX    (32u << 20)   /* of a core, all queues together, at most accepted: 16 bytes each, touched when used */
#define QUEUE_ENTRIES_HELD   (128u << 20)  /* address space: what other workers accepted may have to be adopted as well */
#define DEAD_ENTRIES_MAX     (1u << 20)    /* dead letters of a core */
#define OUTCOMES_PER_RECORD  512
#define OUTCOMES_WAITING_MAX 65536
#define TROUBLES_MAX         4096          /* open at once; each finds its place within TROUBLE_PROBES of its own */
#define TROUBLE_PROBES       64

#endif
