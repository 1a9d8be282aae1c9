/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hl7.h - the public API of libmillrace-hl7: bytes of HL7 v2 to structure and back.
 *
 * The library is pure: no I/O, no allocation, no clock, no state but the kernel chosen once for this CPU. It borrows
 * the caller's bytes and returns offsets into them; memory for results is the caller's. Every function may be called
 * from any thread. Unless said otherwise a function returns 0 (or a count) on success and a negative code on failure,
 * and leaves its outputs untouched on failure.
 */
#ifndef HL7_H
#define HL7_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define HL7_MSG_BYTES_MAX (1u << 30) /* longest message that can be indexed */

/* Error codes; errno values (as -ENOSPC) come before them. */
#define HL7_E_HEADER  (-1000) /* no MSH segment at the first byte, or one that ends before MSH-2 */
#define HL7_E_BOM     (-1001) /* a byte order mark stands before MSH */
#define HL7_E_DELIM   (-1002) /* MSH-1 or MSH-2 declares a delimiter that cannot be one */
#define HL7_E_FULL    (-1003) /* more fields and segments than the index memory holds */
#define HL7_E_PATH    (-1004) /* the text is no path to a field */
#define HL7_E_MSA     (-1005) /* an answer without an MSA segment, or with one that has no code */
#define HL7_E_ESCAPE  (-1006) /* a malformed escape sequence */
#define HL7_E_SIZE    (-1007) /* empty, or longer than HL7_MSG_BYTES_MAX */
#define HL7_E_CHARSET (-1008) /* bytes that cannot be of the character set */
#define HL7_E_ORDER   (-1009) /* a value before the place that was written last, or one that holds a delimiter */
#define HL7_E_BATCH   (-1010) /* batch segments out of order, or a count that does not match */

/* Where and why something failed, as an ERR segment wants it. 0 in a position: not that deep. */
struct hl7_error {
	int code;        /* HL7_E_* */
	uint32_t offset; /* 0-based byte offset from the first byte given */
	char segment[4]; /* "PID", NUL-terminated; empty if unknown */
	uint16_t sequence;
	uint16_t field;
	uint16_t repetition;
	uint16_t component;
	uint16_t subcomponent;
};

/**
 * hl7_strerror - say in words what a code of this library means.
 *
 * @code  HL7_E_*, or a negative errno.
 * Returns a constant text without a full stop; never NULL. It holds nothing of any message.
 */
const char *hl7_strerror(int code);

/**
 * hl7_error_0357 - the condition code of HL7 table 0357 that says best what an error of this library means.
 *
 * @code  HL7_E_*.
 * Returns 100 to 207, for struct hl7_ack.err_code.
 */
uint32_t hl7_error_0357(int code);

/* The delimiters that a message declares; 0 = not declared (a short MSH-2). */
struct hl7_delims {
	char field;
	char component;
	char repetition;
	char escape;
	char subcomponent;
	char truncation; /* 2.7 and later */
};

/* A piece of a message. bytes 0 = absent (offset 0) or empty (offset says where). */
struct hl7_span {
	uint32_t offset; /* from the message's first byte */
	uint32_t bytes;
};

#define HL7_MSH_FIELDS 25

struct hl7_msh {
	struct hl7_delims delims;
	uint32_t segment_bytes; /* length of the MSH segment without its terminator */
	struct hl7_span
	    field[HL7_MSH_FIELDS + 1]; /* field[n] = MSH-n; [1] the separator, [2] the encoding characters */
};

/**
 * hl7_msh_read - read the header of one HL7 v2 message: delimiters and the fields of MSH.
 *
 * @msg     First byte of the message (the 'M' of "MSH"). Borrowed for the call; nothing beyond @bytes is read.
 * @bytes   Length without MLLP framing.
 * @ret     Caller-owned. Written on success only. Fields past MSH-25 are ignored, absent ones are {0, 0}.
 * @reterr  Optional. Written on failure only.
 *
 * The segment ends at CR, or at LF, or with the message. MSH-2 may have one to five characters (2.1 wrote fewer than
 * four); none may be a letter, a digit, a control character, part of a multi-byte character or equal to another.
 * Returns 0, HL7_E_HEADER, HL7_E_BOM or HL7_E_DELIM.
 * Cost: one pass over the MSH segment, no allocation. Threads: any.
 * Source: HL7 v2.5.1 ch. 2, 2.5.4 Message delimiters, 2.15.9 MSH; v2.7 ch. 2, 2.5.5 (truncation character).
 */
int hl7_msh_read(const char *msg, uint32_t bytes, struct hl7_msh *ret, struct hl7_error *reterr);

/* ---- index ------------------------------------------------------------------------------------------------------ */

#define HL7_F_EOL_LENIENT 1u /* LF and CRLF end a segment too, not CR alone */

/* One line of a message. Offsets of its field separators are entry[first .. first + fields), its end is entry[first +
 * fields]. */
struct hl7_segment {
	uint32_t name;   /* hl7_name("PID"); 0 = a line that is no segment (kept, counted in odd_lines) */
	uint32_t offset; /* of the line's first byte */
	uint32_t first;  /* first of its entries */
	uint32_t fields; /* field separators in it */
};

struct hl7_index {
	const char *msg; /* borrowed: readable and unchanged for as long as the index is used */
	uint32_t bytes;
	struct hl7_delims delims;
	const uint32_t *entry; /* offsets of field separators and line ends, ascending */
	const struct hl7_segment
	    *segment; /* the first line; hl7_segment_at() has the others (empty lines are left out) */
	uint32_t entries;
	uint32_t segments;
	uint32_t odd_lines;   /* lines that are no segments */
	uint32_t eol_lenient; /* lines that ended otherwise than by a single CR */
};

/* A segment name as one number, for comparing. */
static inline uint32_t hl7_name(const char *name)
{
	const unsigned char *u = (const unsigned char *)name;

	return (uint32_t)u[0] | (uint32_t)u[1] << 8 | (uint32_t)u[2] << 16;
}

/* The n-th line of an indexed message, 0 <= n < ix->segments. They lie downwards, towards the entries. */
static inline const struct hl7_segment *hl7_segment_at(const struct hl7_index *ix, uint32_t n)
{
	return ix->segment - n;
}

/**
 * hl7_index_bytes - memory that indexes a message of a size, for sizing a pool at start.
 *
 * @fields    Field separators that shall fit, all segments together.
 * @segments  Lines that shall fit.
 * Returns the bytes to give to hl7_index(); a power of two is not needed, alignment to 16 is.
 */
size_t hl7_index_bytes(uint32_t fields, uint32_t segments);

/**
 * hl7_index - locate every segment and field of one HL7 v2 message.
 *
 * @msg        First byte of the message. Borrowed as long as @ret is used; nothing beyond @bytes is read.
 * @bytes      Length without MLLP framing, 1..HL7_MSG_BYTES_MAX.
 * @flags      0 or HL7_F_EOL_LENIENT.
 * @mem        Caller-owned, aligned to 16, in use as long as @ret is; hl7_index_bytes() sizes it.
 * @mem_bytes  Its size. Fields and segments share it, so that any mixture up to that size fits.
 * @ret        Caller-owned. Written on success only.
 * @reterr     Optional. Written on failure only.
 *
 * Delimiters come from this message's MSH-1 and MSH-2, never from defaults. Repetitions, components and sub-components
 * are found when asked for, so a long field costs no memory.
 * Returns 0, HL7_E_SIZE, HL7_E_FULL or the codes of hl7_msh_read().
 * Cost: one pass, no allocation. Threads: any.
 * Source: HL7 v2.5.1 ch. 2, 2.5 (message construction). Departs: with HL7_F_EOL_LENIENT LF and CRLF end segments too.
 */
int hl7_index(const char *msg, uint32_t bytes, uint32_t flags, void *mem, size_t mem_bytes, struct hl7_index *ret,
              struct hl7_error *reterr);

/* ---- paths ------------------------------------------------------------------------------------------------------ */

#define HL7_PATH_ALL   0xffff /* sequence or repetition: (*) or [*] */
#define HL7_PATH_WHOLE 0      /* field, repetition, component, subcomponent: not given */

/* A compiled path. Plain data: copy it, put it in a configuration image. */
struct hl7_path {
	uint32_t name;         /* hl7_name() of the segment */
	uint16_t sequence;     /* 1 = the first such segment; HL7_PATH_ALL */
	uint16_t field;        /* HL7_PATH_WHOLE = the segment itself */
	uint16_t repetition;   /* HL7_PATH_WHOLE = whole field if no component is given, else the first; HL7_PATH_ALL */
	uint16_t component;    /* HL7_PATH_WHOLE = the whole repetition */
	uint16_t subcomponent; /* HL7_PATH_WHOLE = the whole component */
	uint16_t header;       /* 1 for MSH, FHS, BHS: field 1 is the separator, field 2 the encoding characters */
};

/**
 * hl7_path_compile - compile the text of a path: `PID-5.1`, `PID-5-1`, `PID.5.1`, `PID-3[2].4.2`, `OBX(2)-5`,
 * `OBX(*)-3.1`, `MSH-9.3`, `PID-3[*].1`, `PID`.
 *
 * @text    SEGMENT[(n|*)] then [-|.]FIELD, [n|*] in brackets, [-|.]COMPONENT, [-|.]SUBCOMPONENT. Numbers from 1.
 * @bytes   Its length.
 * @ret     Caller-owned. Written on success only.
 * @reterr  Optional. Written on failure only: the offset in @text of what is wrong.
 *
 * Returns 0 or HL7_E_PATH.
 */
int hl7_path_compile(const char *text, uint32_t bytes, struct hl7_path *ret, struct hl7_error *reterr);

/**
 * hl7_get - look up what a path names in an indexed message.
 *
 * @ix   From hl7_index().
 * @p    From hl7_path_compile(). With a wild card the first populated match is taken.
 * @ret  Written when 1 is returned: the raw bytes, escapes and `""` as they stand.
 *
 * Component 1 of a field without components is the whole of it, and so for sub-components.
 * Returns 1 found and populated, 0 absent or empty.
 */
int hl7_get(const struct hl7_index *ix, const struct hl7_path *p, struct hl7_span *ret);

/**
 * hl7_get_set - look up a set of paths at once.
 *
 * @ix     From hl7_index().
 * @paths  @n compiled paths; those of one segment stand together, then the segment is looked for once.
 * @ret    @n spans, all written: what hl7_get() would find, bytes 0 where it would return 0.
 *
 * Returns how many are populated.
 */
uint32_t hl7_get_set(const struct hl7_index *ix, const struct hl7_path *paths, uint32_t n, struct hl7_span *ret);

/**
 * hl7_msh_get - look up a path inside MSH without an index.
 *
 * @msg  The message; @msh: its header, from hl7_msh_read().
 * @p    From hl7_path_compile().
 * @ret  Written when 1 is returned.
 *
 * Returns what hl7_get() would, 1 or 0, or -ERANGE if only the index can tell: another segment, a field past MSH-25, or
 * a wild card.
 */
int hl7_msh_get(const char *msg, const struct hl7_msh *msh, const struct hl7_path *p, struct hl7_span *ret);

/* One walk over all that a path with wild cards names. */
struct hl7_iter {
	const struct hl7_index *ix;
	struct hl7_path path;
	uint32_t segment;     /* index of the segment to look at next */
	uint32_t seen;        /* segments of that name met so far: the sequence of the match just returned */
	uint32_t repetition;  /* of the match just returned, 0 if the path asks for whole fields */
	uint32_t rest_offset; /* what is left of the field's repetitions */
	uint32_t rest_bytes;
	uint32_t more; /* 1 while the field has repetitions left */
};

/**
 * hl7_iter_init - begin a walk over everything that @p names in @ix.
 */
void hl7_iter_init(struct hl7_iter *it, const struct hl7_index *ix, const struct hl7_path *p);

/**
 * hl7_iter_next - the next place that the path names.
 *
 * @it   From hl7_iter_init(); @it->seen and @it->repetition say which segment and repetition this is.
 * @ret  Written when 1 is returned. bytes 0: the segment or repetition is there and the value is not (offset 0 absent,
 *       else empty), so that columns of several paths stay in step.
 * Returns 1, or 0 at the end.
 */
int hl7_iter_next(struct hl7_iter *it, struct hl7_span *ret);

/* Returns 1 if the value is HL7's null, two double quotes: "delete what you have". */
static inline int hl7_is_null(const char *msg, struct hl7_span value)
{
	return value.bytes == 2 && msg[value.offset] == '"' && msg[value.offset + 1] == '"';
}

/* ---- the whole message ------------------------------------------------------------------------------------------ */

/* One smallest piece of a message: what stands between two delimiters. */
struct hl7_element {
	struct hl7_span value; /* may be empty */
	uint32_t name;         /* hl7_name() of its segment, 0 on a line that is no segment */
	uint32_t line;         /* number of the line, from 0, empty ones not counted */
	uint32_t field;        /* 0 = the segment's name; MSH-1 and MSH-2 come as one element each */
	uint32_t repetition;   /* from 1, and so below */
	uint32_t component;
	uint32_t subcomponent;
	uint32_t
	    end; /* the delimiter or line end that follows it; 0 = none, as at the message's end and around MSH-1 */
};

#define HL7_WALK_BLOCKS 16

/* A walk over every element of a message; no index needed. */
struct hl7_walk {
	const char *msg; /* borrowed as long as the walk goes on */
	uint32_t bytes;
	uint32_t flags;
	struct hl7_delims delims;
	uint32_t start; /* of the next element */
	uint32_t name;  /* of the line it is in */
	uint32_t line;
	uint32_t at[4]; /* its field, repetition, component, sub-component */
	uint32_t skip;  /* delimiters before this offset are values: MSH-2 */
	uint32_t stage; /* what comes next */
	uint32_t block; /* offset of the bytes that marks[] stands for */
	uint32_t next;  /* next of marks[] to look at */
	uint64_t bits;  /* what is left of the one looked at */
	uint64_t marks[HL7_WALK_BLOCKS];
	uint8_t level[256]; /* by byte: which counter a delimiter advances */
};

/**
 * hl7_walk_init - begin a walk over every element of a message.
 *
 * @w       Caller-owned. Written on success only.
 * @msg     First byte of the message. Borrowed as long as the walk goes on; nothing beyond @bytes is read.
 * @bytes   Length without MLLP framing, 1..HL7_MSG_BYTES_MAX.
 * @flags   0 or HL7_F_EOL_LENIENT.
 * @reterr  Optional. Written on failure only.
 * Returns 0, HL7_E_SIZE or the codes of hl7_msh_read().
 */
int hl7_walk_init(struct hl7_walk *w, const char *msg, uint32_t bytes, uint32_t flags, struct hl7_error *reterr);

/**
 * hl7_walk_next - the next elements, in the order of the message.
 *
 * @w    From hl7_walk_init().
 * @ret  Room for @max elements.
 * @max  At least 3; some dozens at a time are fastest.
 *
 * The values with the delimiters that follow them are the message, byte for byte, but for empty lines.
 * Returns how many were written, 0 at the end. Cost: one pass over the message, constant memory.
 */
uint32_t hl7_walk_next(struct hl7_walk *w, struct hl7_element *ret, uint32_t max);

/* ---- text ------------------------------------------------------------------------------------------------------- */

/**
 * hl7_unescape - turn \F\ \S\ \T\ \R\ \E\ \P\ and \Xhh..\ of a value into the bytes they stand for.
 *
 * @delims     Of the message the value comes from. With no escape character declared the value is copied.
 * @in, @in_bytes    The raw value.
 * @out, @out_max    Room; the result is never longer than the value. @out may be @in.
 *
 * Other sequences (\H\ \N\ \.br\ \C..\ \M..\ \Z..\), and malformed ones, are kept as they stand.
 * Returns the length of the result, or -ENOSPC (then @out may hold a part of it).
 * Source: HL7 v2.5.1 ch. 2, 2.7 Use of escape sequences.
 */
int hl7_unescape(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max);

/**
 * hl7_escape - write any bytes as a value: delimiters as \F\ and its like, control characters as \Xhh\.
 *
 * @delims   Of the message the value is for.
 * @in, @in_bytes   Any bytes; those from 0x80 on are kept as they are, as they belong to the message's character set.
 * @out, @out_max   Room; 5 bytes for each of @in are always enough. Must not overlap @in.
 *
 * hl7_unescape() gives the same bytes back. A delimiter that the message does not declare needs no escape.
 * Returns the length of the result, -ENOSPC, or HL7_E_ESCAPE if something must be escaped and the message declares no
 * escape character (then @out may hold a part of it).
 * Source: HL7 v2.5.1 ch. 2, 2.7; v2.7 ch. 2, 2.7 (\P\).
 */
int hl7_escape(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max);

enum hl7_text_kind {
	HL7_TEXT_PLAIN = 0,     /* bytes as they are: value */
	HL7_TEXT_BYTES = 1,     /* \F\ and its like, \Xhh..\: value is the sequence, hl7_unescape() resolves it */
	HL7_TEXT_HIGHLIGHT = 2, /* \H\ begins, \N\ ends: code 'H' or 'N' */
	HL7_TEXT_FORMAT = 3,    /* \.br\ \.sp3\ \.in+4\ ...: command, number */
	HL7_TEXT_CHARSET = 4,   /* \Cxxyy\ or \Mxxyyzz\: code 'C' or 'M'; value is the hexadecimal part */
	HL7_TEXT_LOCAL = 5,     /* \Z..\: value is what stands after the Z */
	HL7_TEXT_UNKNOWN = 6,   /* an escape sequence of no known kind, kept: value is all of it */
};

struct hl7_text {
	int kind;              /* enum hl7_text_kind */
	struct hl7_span value; /* from the value's first byte */
	char code;
	char command[3]; /* "br" "sp" "sk" "fi" "nf" "in" "ti" "ce" */
	int32_t number;  /* of a format command; 0 if none is given */
};

/**
 * hl7_text_next - the next piece of a value as text: plain bytes or one escape sequence.
 *
 * @delims  Of the message the value comes from.
 * @in, @in_bytes   The raw value.
 * @io_at   Where to go on; 0 at first.
 * @ret     Written when 1 is returned.
 *
 * Nothing is lost: the pieces are the value. An escape character without a partner is plain.
 * Returns 1, or 0 at the end.
 */
int hl7_text_next(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, uint32_t *io_at,
                  struct hl7_text *ret);

/**
 * hl7_text_plain - a value as a person would read it: sequences resolved, line breaks and spaces made, highlighting and
 * other formatting left out; \C..\ \M..\ \Z..\ and unknown sequences kept.
 *
 * Room and result as hl7_unescape(), but \.sp\ and \.sk\ with a number may need more: at most HL7_TEXT_SKIP_MAX bytes
 * each.
 */
int hl7_text_plain(const struct hl7_delims *delims, const char *in, uint32_t in_bytes, char *out, uint32_t out_max);

#define HL7_TEXT_SKIP_MAX 99 /* more lines or spaces than that are not made */

/* ---- character sets --------------------------------------------------------------------------------------------- */

enum hl7_charset {
	HL7_CHARSET_NONE = 0, /* MSH-18 is empty: ASCII by the standard, anything in practice */
	HL7_CHARSET_ASCII,
	HL7_CHARSET_8859_1,
	HL7_CHARSET_8859_2,
	HL7_CHARSET_8859_3,
	HL7_CHARSET_8859_4,
	HL7_CHARSET_8859_5,
	HL7_CHARSET_8859_6,
	HL7_CHARSET_8859_7,
	HL7_CHARSET_8859_8,
	HL7_CHARSET_8859_9,
	HL7_CHARSET_8859_15,
	HL7_CHARSET_UTF8,
	HL7_CHARSET_UTF16,
	HL7_CHARSET_UTF32,
	HL7_CHARSET_GB18030,
	HL7_CHARSET_BIG5,
	HL7_CHARSET_CNS11643,
	HL7_CHARSET_KSX1001,
	HL7_CHARSET_JIS_X0201,
	HL7_CHARSET_JIS_X0208,
	HL7_CHARSET_JIS_X0212,
	HL7_CHARSET_UNKNOWN, /* a name that table 0211 does not have */
};

/**
 * hl7_charset_find - which character set a name of MSH-18 means (HL7 table 0211, and the spellings that are met with).
 *
 * @name, @bytes  The first repetition of MSH-18; case, spaces, '-', '_' and '/' do not matter.
 * Returns enum hl7_charset.
 */
int hl7_charset_find(const char *name, uint32_t bytes);

/**
 * hl7_charset_name - the name that table 0211 gives a character set, as iconv_open() wants it if @iconv.
 *
 * Returns NULL for HL7_CHARSET_NONE and HL7_CHARSET_UNKNOWN.
 */
const char *hl7_charset_name(int charset, int iconv);

/**
 * hl7_charset_check - can these bytes be of that character set?
 *
 * @charset     enum hl7_charset; NONE and UNKNOWN pass anything.
 * @buf, @bytes  A message or a value.
 * @ret_offset  Optional. On failure the offset of the first byte that cannot stand there.
 *
 * A declaration lies if this fails, and also if an 8859 set is declared and hl7_charset_guess() says UTF-8.
 * Returns 0 or HL7_E_CHARSET. Cost: one pass, eight bytes at a time while they are ASCII.
 */
int hl7_charset_check(int charset, const char *buf, uint32_t bytes, uint32_t *ret_offset);

/**
 * hl7_charset_guess - what bytes look like, whatever was declared.
 *
 * Returns HL7_CHARSET_ASCII, HL7_CHARSET_UTF8 (valid, with at least one longer character), HL7_CHARSET_UTF16 (a zero
 * byte or a byte order mark), HL7_CHARSET_8859_1 (no bytes 0x80-0x9F, so some 8859 set) or HL7_CHARSET_UNKNOWN.
 */
int hl7_charset_guess(const char *buf, uint32_t bytes);

/* ---- writing ---------------------------------------------------------------------------------------------------- */

/* A message being written, front to back. */
struct hl7_build {
	char *out;
	uint32_t out_max;
	uint32_t bytes; /* written so far */
	struct hl7_delims delims;
	uint32_t at[4];  /* field, repetition, component, sub-component where the next byte would go */
	uint32_t filled; /* 1 once something stands there */
	int rc;          /* the first failure; everything after it is refused with it */
};

/**
 * hl7_build_init - begin a message.
 *
 * @b       Caller-owned.
 * @out, @out_max   Room for the message, in use until hl7_build_end().
 * @delims  Delimiters of the message, NULL for |^~\&.
 */
void hl7_build_init(struct hl7_build *b, char *out, uint32_t out_max, const struct hl7_delims *delims);

/**
 * hl7_build_segment - end the segment before, if there is one, and begin another.
 *
 * @name  Three characters. MSH, FHS and BHS write their first two fields themselves.
 * Returns 0, -ENOSPC, HL7_E_ORDER (no segment name) or the first failure of this message.
 */
int hl7_build_segment(struct hl7_build *b, const char *name);

/**
 * hl7_build_raw, hl7_build_text - write one element of the segment: as it is, or escaped.
 *
 * @field, @repetition, @component, @subcomponent   Where, from 1; 0 means 1. Places must come in the order of the
 *         message; those left out become empty. A whole field can be written raw, inner delimiters included.
 * @value, @bytes   What. Raw values must hold no field separator, CR or LF.
 * Returns 0, -ENOSPC, HL7_E_ORDER, HL7_E_DELIM (needs a delimiter that is not declared), HL7_E_ESCAPE, or the first
 * failure.
 */
int hl7_build_raw(struct hl7_build *b, uint32_t field, uint32_t repetition, uint32_t component, uint32_t subcomponent,
                  const char *value, uint32_t bytes);
int hl7_build_text(struct hl7_build *b, uint32_t field, uint32_t repetition, uint32_t component, uint32_t subcomponent,
                   const char *value, uint32_t bytes);

/**
 * hl7_build_end - end the last segment. Returns the message's length, or the first failure.
 */
int hl7_build_end(struct hl7_build *b);

enum hl7_edit_kind {
	HL7_EDIT_SET = 0,    /* put a value there; what is missing before it is made */
	HL7_EDIT_INSERT = 1, /* put a value before what is there */
	HL7_EDIT_DELETE = 2, /* take it out with its delimiter, so that what follows moves up */
};

/**
 * hl7_edit - write a message again with one element changed; every other byte stays as it is.
 *
 * @ix     Index of the message.
 * @kind   enum hl7_edit_kind.
 * @p      What: a segment (field not given: a whole line, made of @value without its end), a field, repetition,
 *         component or sub-component. No wild cards. A segment that is not there can only be inserted: at the end.
 * @value, @bytes   Raw; no field separator and no line end, except that a segment may hold field separators.
 * @out, @out_max   Room for the new message; must not overlap the old one.
 *
 * Returns the new length, -ENOSPC, -ENOENT (no such segment), HL7_E_PATH (wild card), HL7_E_DELIM (MSH-1 or MSH-2, or a
 * delimiter is needed that is not declared), HL7_E_ORDER (@value holds a field separator or line end).
 * Deleting what is not there changes nothing.
 */
int hl7_edit(const struct hl7_index *ix, int kind, const struct hl7_path *p, const char *value, uint32_t bytes,
             char *out, uint32_t out_max);

/* ---- acknowledgements ------------------------------------------------------------------------------------------- */

/* What an acknowledgement is made from. Zero it, then fill in. Texts are borrowed for the call. */
struct hl7_ack {
	const struct hl7_msh *msh; /* header of the message answered; NULL if it had no usable one */
	const char *msg;           /* that message; not read if msh is NULL */
	const char *code;          /* MSA-1: "AA" "AE" "AR" "CA" "CE" "CR" */
	const char *control_id;    /* MSH-10 of the acknowledgement itself */
	uint32_t control_id_bytes;
	int32_t utc_offset_minutes;  /* of MSH-7, east positive */
	uint64_t time_ns;            /* realtime clock, for MSH-7 */
	const char *app;             /* MSH-3 instead of the message's MSH-5; NULL = swap */
	const char *facility;        /* MSH-4 instead of the message's MSH-6; NULL = swap */
	const struct hl7_error *err; /* where, for ERR; may be NULL */
	uint32_t err_code;           /* HL7 table 0357; 0 = no ERR segment */
	char err_severity;           /* 'E' (also 0), 'W', 'I', 'F' */
	const char
	    *text; /* ASCII, NUL-terminated; MSA-3 up to 2.6 and ERR-8 from 2.5; delimiters are escaped; may be NULL */
};

#define HL7_ACK_BYTES_MAX 1024 /* room that is enough while the message's MSH fields are of usual length */

/**
 * hl7_ack_build - write the acknowledgement of a message, without MLLP framing.
 *
 * @out      Room for the answer.
 * @out_max  Its size: hl7_ack_bytes(@a) is always enough, HL7_ACK_BYTES_MAX usually.
 * @a        What to say.
 *
 * MSH-3/4 and MSH-5/6 are swapped whole, MSH-9 is ACK by version and trigger, MSH-11, MSH-12 and MSH-18 are the
 * message's, MSH-15 and MSH-16 empty; MSA-2 is the message's MSH-10 byte for byte; ERR follows the message's version.
 * Delimiters are the message's; a time zone or version that they would cut is left out. @a->control_id, app and
 * facility are written as they are. Every segment ends with CR.
 * Returns the length, or -ENOSPC if @out_max is below hl7_ack_bytes(@a) (nothing written).
 * Source: HL7 v2.1 to v2.9 ch. 2, acknowledgement messages, MSA and ERR.
 */
int hl7_ack_build(char *out, uint32_t out_max, const struct hl7_ack *a);

/**
 * hl7_ack_bytes - room that hl7_ack_build() wants for an answer, a bound: MSH segment, texts and a fixed part.
 */
uint32_t hl7_ack_bytes(const struct hl7_ack *a);

/* What an answer says. */
struct hl7_msa {
	char code[3]; /* MSA-1, NUL-terminated: "AA" "AE" "AR" "CA" "CE" "CR", or whatever two characters stand there */
	struct hl7_span control_id; /* MSA-2 */
	struct hl7_span text;       /* MSA-3 */
	uint32_t err_offset;        /* offset of the first ERR segment, 0 = none */
};

/**
 * hl7_msa_read - read the header and the MSA segment of an answer.
 *
 * @msg     First byte of the answer. Borrowed for the call; nothing beyond @bytes is read.
 * @bytes   Length without MLLP framing.
 * @msh     Caller-owned header. Written on success only.
 * @ret     Caller-owned. Written on success only.
 * @reterr  Optional. Written on failure only.
 *
 * The first MSA segment counts, wherever it stands; CR, LF and CRLF end segments.
 * Returns 0, HL7_E_MSA (no MSA segment, or MSA-1 is not two characters) or the codes of hl7_msh_read().
 */
int hl7_msa_read(const char *msg, uint32_t bytes, struct hl7_msh *msh, struct hl7_msa *ret, struct hl7_error *reterr);

/* ---- batches ---------------------------------------------------------------------------------------------------- */

enum hl7_batch_status {
	HL7_BATCH_MORE = 0,    /* nothing whole yet: give more bytes */
	HL7_BATCH_MESSAGE = 1, /* a message, from its MSH to the line before the next MSH or batch segment */
	HL7_BATCH_SEGMENT = 2, /* FHS, BHS, BTS or FTS */
	HL7_BATCH_OTHER = 3,   /* a line outside of any message */
	HL7_BATCH_END = 4,     /* no bytes are left and none will come */
};

/* A stream of messages with or without batch segments around them. Zero it before use; memory does not grow. */
struct hl7_batch {
	uint64_t messages;       /* in the whole stream */
	uint64_t batches;        /* BHS met */
	uint64_t batch_messages; /* since the last BHS */
	uint64_t others;         /* lines outside of any message */
	uint64_t problems;       /* items that had ret->rc set */
	uint8_t in_file;         /* between FHS and FTS */
	uint8_t in_batch;        /* between BHS and BTS */
	uint8_t started;
};

struct hl7_batch_item {
	int status; /* enum hl7_batch_status */
	int rc;     /* HL7_E_BATCH: the segment is out of order or its count (BTS-1, FTS-1) does not match; else 0 */
	uint32_t consumed; /* bytes to take off the front: the item and empty lines before it */
	uint32_t offset;   /* of the item; line ends that belong to it are in bytes */
	uint32_t bytes;
	uint32_t name;    /* HL7_BATCH_SEGMENT: which, as hl7_name() */
	uint32_t scanned; /* HL7_BATCH_MORE: pass it to the next call */
};

/**
 * hl7_batch_next - the next item of a batch file or of a plain file of messages.
 *
 * @b        State of the stream.
 * @buf, @bytes   The bytes not consumed yet, in one piece. The longest message decides how large that must get.
 * @at_end   No bytes will follow.
 * @scanned  @ret->scanned of the previous call on these same bytes, 0 after anything was consumed.
 * @ret      Written always.
 *
 * CR, LF and CRLF end lines. A byte order mark at the start of the stream is passed over. Counts are checked where the
 * trailer gives one. The standard lets a message hold no line that begins with MSH; one that does is cut there.
 * Cost: one pass over the bytes, however they arrive. Source: HL7 v2.5.1 ch. 2, 2.10.3 (batch protocol), 2.15.2 BHS ff.
 */
void hl7_batch_next(struct hl7_batch *b, const char *buf, uint32_t bytes, int at_end, uint32_t scanned,
                    struct hl7_batch_item *ret);

/* ---- kernels ---------------------------------------------------------------------------------------------------- */

/**
 * hl7_kernel_name - the kernel in use: "scalar", "sse2", "avx2", "avx512" or "neon".
 *
 * The best one for this CPU is chosen on first use.
 */
const char *hl7_kernel_name(void);

/**
 * hl7_kernel_select - use another kernel, in the whole process; for tests and measurements, and to work round a CPU.
 *
 * @name  As hl7_kernel_name() returns it.
 * Returns 0, or -ENOTSUP if this CPU or build has no such kernel. Results do not depend on the kernel.
 */
int hl7_kernel_select(const char *name);

#ifdef __cplusplus
}
#endif

#endif
