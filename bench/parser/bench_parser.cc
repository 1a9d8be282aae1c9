// SPDX-License-Identifier: Apache-2.0
//
// bench_parser.cc - the parser step by step, per kernel, beside memcpy: what each step costs on messages of several
// sizes.
//
// Names are kernel/step/message. --benchmark_filter=avx2/ picks a kernel; the steps:
//   copy     memcpy of the message, the limit of anything that touches every byte
//   mask     the bare pass that marks all delimiters, one bit per byte
//   index    hl7_index
//   header   hl7_msh_read
//   twelve   header, index and twelve fields: what routing does
//   walk     every element
//   frame    mllp_next over the message in its frame
//   unescape hl7_unescape of a value with sequences;  ack: hl7_ack_build (their messages are their own)
#include <benchmark/benchmark.h>

#include <cstdlib>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "hl7.h"
#include "mllp.h"
#include "samples.h"

extern "C" {
#include "hl7_scan.h"
}

namespace
{

struct aligned_memory {
	explicit aligned_memory(size_t bytes) : size((bytes + 63) & ~size_t(63)), p(aligned_alloc(64, size))
	{
	}
	~aligned_memory()
	{
		free(p);
	}
	aligned_memory(const aligned_memory &) = delete;
	aligned_memory &operator=(const aligned_memory &) = delete;
	size_t size;
	void *p;
};

std::vector<struct hl7_path> compile(const std::vector<const char *> &texts)
{
	std::vector<struct hl7_path> paths;

	for (const char *text : texts) {
		struct hl7_path p;

		if (hl7_path_compile(text, uint32_t(strlen(text)), &p, nullptr))
			abort();
		paths.push_back(p);
	}
	return paths;
}

const std::vector<struct hl7_path> &twelve_paths()
{
	static const std::vector<struct hl7_path> paths =
	    compile({"MSH-4", "MSH-9.1", "MSH-9.2", "PID-3[1].1", "PID-5.1", "PID-5.2", "PID-7", "PID-8", "PV1-2",
	             "PV1-3.1", "PV1-19.1", "AL1-3.2"});

	return paths;
}

using step = std::function<void(benchmark::State &, const std::string &)>;

void count(benchmark::State &state, const std::string &m)
{
	state.SetBytesProcessed(int64_t(state.iterations()) * int64_t(m.size()));
	state.SetItemsProcessed(int64_t(state.iterations()));
}

void copy(benchmark::State &state, const std::string &m)
{
	std::string to(m.size(), ' ');

	for (auto _ : state) {
		memcpy(&to[0], m.data(), m.size());
		benchmark::ClobberMemory();
	}
	count(state, m);
}

void mask(benchmark::State &state, const std::string &m)
{
	std::vector<uint64_t> out(m.size() / 64 + 1);

	for (auto _ : state) {
		hl7_kernel()->marks(m.data(), uint32_t(m.size()), "|^~&\r\n", out.data());
		benchmark::ClobberMemory();
	}
	count(state, m);
}

size_t index_room(const std::string &m)
{
	uint32_t fields = 0, lines = 1;

	for (char c : m) {
		fields += c == '|';
		lines += c == '\r';
	}
	return hl7_index_bytes(fields, lines);
}

void index_it(benchmark::State &state, const std::string &m)
{
	aligned_memory mem(index_room(m));
	struct hl7_index ix;

	for (auto _ : state) {
		if (hl7_index(m.data(), uint32_t(m.size()), HL7_F_EOL_LENIENT, mem.p, mem.size, &ix, nullptr))
			abort();
		benchmark::DoNotOptimize(ix);
		benchmark::ClobberMemory();
	}
	count(state, m);
}

void header(benchmark::State &state, const std::string &m)
{
	struct hl7_msh msh;

	for (auto _ : state) {
		if (hl7_msh_read(m.data(), uint32_t(m.size()), &msh, nullptr))
			abort();
		benchmark::DoNotOptimize(msh);
	}
	count(state, m);
}

void twelve(benchmark::State &state, const std::string &m)
{
	aligned_memory mem(index_room(m));
	struct hl7_index ix;
	struct hl7_msh msh;
	struct hl7_span out[12];

	for (auto _ : state) {
		if (hl7_msh_read(m.data(), uint32_t(m.size()), &msh, nullptr) ||
		    hl7_index(m.data(), uint32_t(m.size()), HL7_F_EOL_LENIENT, mem.p, mem.size, &ix, nullptr))
			abort();
		hl7_get_set(&ix, twelve_paths().data(), 12, out);
		benchmark::DoNotOptimize(msh);
		benchmark::DoNotOptimize(out);
	}
	count(state, m);
}

void walk(benchmark::State &state, const std::string &m)
{
	struct hl7_element e[64];
	struct hl7_walk w;
	uint64_t elements = 0;

	for (auto _ : state) {
		uint32_t n;

		if (hl7_walk_init(&w, m.data(), uint32_t(m.size()), HL7_F_EOL_LENIENT, nullptr))
			abort();
		while ((n = hl7_walk_next(&w, e, 64)) > 0)
			elements += n;
		benchmark::DoNotOptimize(e);
	}
	state.counters["elements"] = double(elements) / double(state.iterations());
	count(state, m);
}

void frame(benchmark::State &state, const std::string &m)
{
	std::string framed = "\v" + m + "\034\r";
	struct mllp_result r;

	for (auto _ : state) {
		mllp_next(framed.data(), uint32_t(framed.size()), 0, &r);
		if (r.status != MLLP_FRAME)
			abort();
		benchmark::DoNotOptimize(r);
	}
	count(state, m);
}

// Index layouts compared (docs/decisions/0001-parser-index.md): what an index of bit masks alone would cost to look up
// in. The twelve fields' numbers of the usual ADT are selected by counting bits.
void masks_select(benchmark::State &state, const std::string &m)
{
	std::vector<uint64_t> fields(m.size() / 64 + 1), ends(m.size() / 64 + 1);
	const uint32_t wanted[12] = {3, 8, 8, 30, 32, 32, 34, 35, 62, 63, 79, 88};
	uint32_t out[12];

	for (auto _ : state) {
		hl7_kernel()->marks(m.data(), uint32_t(m.size()), "||||||", fields.data());
		hl7_kernel()->marks(m.data(), uint32_t(m.size()), "\r\r\r\r\r\n", ends.data());
		for (unsigned i = 0; i < 12; i++) {
			uint32_t n = wanted[i], at = 0;

			for (uint32_t w = 0; w < fields.size(); w++) {
				uint32_t here = uint32_t(__builtin_popcountll(fields[w]));

				if (n < here) {
					uint64_t bits = fields[w];

					for (; n; n--)
						bits &= bits - 1;
					at = w * 64 + uint32_t(__builtin_ctzll(bits));
					break;
				}
				n -= here;
			}
			out[i] = at;
		}
		benchmark::DoNotOptimize(out);
		benchmark::DoNotOptimize(ends.data());
	}
	count(state, m);
}

void unescape(benchmark::State &state, const std::string &)
{
	const std::string in =
	    "Dosage \\T\\ route: 5\\F\\10 mg\\E\\day, see \\X0D0A\\ the note \\R\\ of the ward round";
	const struct hl7_delims d = {'|', '^', '~', '\\', '&', 0};
	char out[128];

	for (auto _ : state) {
		benchmark::DoNotOptimize(hl7_unescape(&d, in.data(), uint32_t(in.size()), out, sizeof out));
		benchmark::ClobberMemory();
	}
	count(state, in);
}

void ack(benchmark::State &state, const std::string &m)
{
	struct hl7_msh msh;
	struct hl7_ack a {
	};
	char out[HL7_ACK_BYTES_MAX];

	if (hl7_msh_read(m.data(), uint32_t(m.size()), &msh, nullptr))
		abort();
	a.msh = &msh;
	a.msg = m.data();
	a.code = "AA";
	a.control_id = "1A2B3C4D5E";
	a.control_id_bytes = 10;
	a.time_ns = 1772323199000000000ull;
	for (auto _ : state) {
		a.time_ns += 1000000;
		benchmark::DoNotOptimize(hl7_ack_build(out, sizeof out, &a));
		benchmark::ClobberMemory();
	}
	state.SetItemsProcessed(int64_t(state.iterations()));
}

void add(const char *kernel, const char *name, const std::string &sample, const std::shared_ptr<const std::string> &m,
         step run)
{
	benchmark::RegisterBenchmark((std::string(kernel) + "/" + name + "/" + sample).c_str(),
	                             [kernel, m, run](benchmark::State &state) {
		                             hl7_kernel_select(kernel);
		                             run(state, *m);
	                             });
}

} // namespace

int main(int argc, char **argv)
{
	const std::pair<const char *, std::shared_ptr<const std::string>> messages[] = {
	    {"adt-316", std::make_shared<const std::string>(samples::adt_small())},
	    {"adt-658", std::make_shared<const std::string>(samples::adt_usual())},
	    {"oru-30", std::make_shared<const std::string>(samples::oru(30))},
	    {"oru-1000", std::make_shared<const std::string>(samples::oru(1000))},
	    {"base64-1MB", std::make_shared<const std::string>(samples::embedded(1 << 20))},
	    {"base64-20MB", std::make_shared<const std::string>(samples::embedded(20 << 20))},
	};

	for (unsigned k = 0; hl7_kernels[k]; k++) {
		const char *kernel = hl7_kernels[k]->name;

		if (!hl7_kernels[k]->usable())
			continue;
		for (const auto &m : messages) {
			if (k == 0)
				add("any", "copy", m.first, m.second, copy);
			add(kernel, "mask", m.first, m.second, mask);
			add(kernel, "index", m.first, m.second, index_it);
			add(kernel, "header", m.first, m.second, header);
			add(kernel, "twelve", m.first, m.second, twelve);
			add(kernel, "walk", m.first, m.second, walk);
			add(kernel, "frame", m.first, m.second, frame);
		}
		add(kernel, "masks-select", "adt-658", messages[1].second, masks_select);
		add(kernel, "unescape", "value", messages[1].second, unescape);
		add(kernel, "ack", "adt-658", messages[1].second, ack);
	}
	benchmark::Initialize(&argc, argv);
	if (benchmark::ReportUnrecognizedArguments(argc, argv))
		return 1;
	benchmark::RunSpecifiedBenchmarks();
	return 0;
}
