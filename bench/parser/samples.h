// SPDX-License-Identifier: Apache-2.0
// samples.h - the messages that the parser's benchmarks read. All are invented; their sizes are what they stand for.
#ifndef BENCH_PARSER_SAMPLES_H
#define BENCH_PARSER_SAMPLES_H

#include <string>

namespace samples
{

// 316 bytes, 3 segments: the size that other parsers publish figures for.
inline std::string adt_small()
{
	std::string m =
	    "MSH|^~\\&|ADTSYS|NORTH|HUB|HIE|20260112093000||ADT^A01^ADT_A01|MSG0000001|P|2.5.1\r"
	    "PID|1||900001^^^NORTH^MR||SAMPLE^ALEX^Q^^^^L||19700101|F|||1 EXAMPLE ROAD^^SPRINGFIELD^XX^00000^USA||"
	    "5550100|||S||900001001^^^NORTH^VN|000-00-0000\r"
	    "PV1|1|I|WARD1^101^A||||1001^TEST^DOC|||MED||||1|||1001^TEST^DOC|INP|V000001";

	m.resize(315, '|');
	return m + "\r";
}

// 658 bytes, 8 segments: a usual admission.
inline std::string adt_usual()
{
	std::string m =
	    "MSH|^~\\&|ADTSYS|NORTH|HUB|HIE|20260112093000||ADT^A01^ADT_A01|MSG0000001|P|2.5.1|||AL|NE||UNICODE UTF-8\r"
	    "EVN|A01|20260112093000||01|OPER^TEST^USER\r"
	    "PID|1||900001^^^NORTH&1.2.3&ISO^MR~000-00-0000^^^USA^SS||SAMPLE^ALEX^Q^^^^L||19700101|F||W|"
	    "1 EXAMPLE ROAD^APT 2^SPRINGFIELD^XX^00000^USA^H||^PRN^PH^^^555^5550100|^WPN^PH^^^555^5550101|E|S|NON|"
	    "900001001^^^NORTH^VN|000-00-0000\r"
	    "NK1|1|SAMPLE^ROBIN^^^^^L|SPO|1 EXAMPLE ROAD^^SPRINGFIELD^XX^00000|^PRN^PH^^^555^5550102\r"
	    "PV1|1|I|WARD1^101^A^NORTH||||1001^TEST^DOC^^^DR|||MED||||1|||1001^TEST^DOC|INP|V000001\r"
	    "AL1|1|DA|P^PENICILLIN|SV|RASH\r"
	    "DG1|1||J18.9^PNEUMONIA^I10||20260112|A\r"
	    "IN1|1|PLAN1|INS1|EXAMPLE INSURANCE";

	m.resize(657, '|');
	return m + "\r";
}

// A laboratory result with many OBX.
inline std::string oru(unsigned results)
{
	std::string m = "MSH|^~\\&|LAB|NORTH|HUB|HIE|20260112093000||ORU^R01^ORU_R01|MSG0000002|P|2.5.1\r"
	                "PID|1||900001^^^NORTH^MR||SAMPLE^ALEX||19700101|F\r"
	                "OBR|1|ORD1^HIS|LAB1^LIS|24323-8^Comprehensive panel^LN|||20260112080000\r";

	for (unsigned i = 0; i < results; i++)
		m += "OBX|" + std::to_string(i + 1) + "|NM|2345-7^Glucose [Mass/volume] in Serum^LN||" +
		     std::to_string(80 + i % 40) + "|mg/dL^milligram per deciliter^UCUM|70-99|N|||F|||20260112083000\r";
	return m;
}

// A document in base64 inside OBX-5.
inline std::string embedded(size_t bytes)
{
	std::string m =
	    "MSH|^~\\&|DOC|NORTH|HUB|HIE|20260112093000||MDM^T02^MDM_T02|MSG0000003|P|2.5.1\r"
	    "PID|1||900001^^^NORTH^MR||SAMPLE^ALEX||19700101|F\rOBX|1|ED|PDF^Report||^application^pdf^Base64^";
	const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	while (m.size() + 20 < bytes)
		m += alphabet[(m.size() * 2654435761u >> 7) % 64];
	return m + "||||||F\r";
}

} // namespace samples

#endif
