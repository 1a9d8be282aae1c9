/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mr_codes.h - numbers of the troubles that workers report (mr_link.h TROUBLE, the regions' error logs). What each means
 * and what to do about it stands in control/errors.def; numbers are never given another meaning.
 */
#ifndef MR_CODES_H
#define MR_CODES_H

enum mr_code {
	MR_CODE_CONNECTION_LIMIT = 2001,
	MR_CODE_FRAME_MEMORY = 2002,
	MR_CODE_DISK_FULL = 3001,
	MR_CODE_JOURNAL_CORRUPT = 3002,
	MR_CODE_DESTINATION_UNKNOWN = 3003,
	MR_CODE_JOURNAL_WRITE = 3004,
	MR_CODE_MESSAGE_UNREADABLE = 3005,
	MR_CODE_DESTINATION_DOWN = 4001,
	MR_CODE_ACK_TIMEOUT = 4002,
	MR_CODE_ACK_LATE = 4003,
	MR_CODE_ACK_MISMATCH = 4004,
	MR_CODE_QUEUE_FULL = 4005,
	MR_CODE_DEAD_FULL = 4010,
	MR_CODE_DEAD_LETTER = 4011,
	MR_CODE_ACK_UNREADABLE = 4012,
};

#endif
