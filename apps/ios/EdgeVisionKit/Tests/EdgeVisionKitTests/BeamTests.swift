import XCTest

@testable import EdgeVisionKit

final class BeamTests: XCTestCase {
    func testSentencesByBeamsArePythons() async throws {
        let fixture = try Fixtures.read().sentences
        for case let entry in fixture.beams {
            let found = try await search(
                Table(fixture.table, rows: entry.beams), start: fixture.start, end: fixture.end, beams: entry.beams,
                limit: entry.limit, penalty: entry.penalty, distinct: entry.distinct)
            assertEqual(found, entry.found)
        }
    }

    func testDrawnSentencesArePythons() async throws {
        let fixture = try Fixtures.read().sentences
        for entry in fixture.draws {
            let found = try await draw(
                Table(fixture.table, rows: entry.count), start: fixture.start, end: fixture.end, limit: entry.limit,
                sampling: entry.sampling.sampling, count: entry.count)
            assertEqual(found, entry.found)
        }
    }

    func testTextsArePythons() async throws {
        let fixture = try Fixtures.read().texts
        let tokenizer = try BytePairs(Fixtures.data(fixture.tokenizer))
        for run in fixture.runs {
            var shown = ""
            let (text, stop) = try await write(
                after: run.prompt, with: Table(fixture.table), tokenizer: tokenizer, ends: [fixture.end],
                context: run.context, sampling: run.sampling.sampling, limit: run.limit
            ) { now in
                XCTAssert(now.hasPrefix(shown))
                shown = now
                return true
            }
            XCTAssertEqual(text, run.text)
            XCTAssertEqual(stop.rawValue, run.stop)
        }
    }

    func testWritingStopsWhenAsked() async throws {
        let fixture = try Fixtures.read().texts
        let tokenizer = try BytePairs(Fixtures.data(fixture.tokenizer))
        let (text, _) = try await write(
            after: "The", with: Table(fixture.table), tokenizer: tokenizer, ends: [], context: 100
        ) { $0.count < 3 }
        XCTAssertEqual(text.count, 3)
    }

    func testAPromptThatDoesNotFitIsRefused() async throws {
        let fixture = try Fixtures.read().texts
        let tokenizer = try BytePairs(Fixtures.data(fixture.tokenizer))
        for (prompt, ends) in [("The cat", [0]), ("", [])] {
            do {
                try await write(after: prompt, with: Table(fixture.table), tokenizer: tokenizer, ends: ends, context: 7)
                XCTFail("\"\(prompt)\" was taken")
            } catch is Failure {}
        }
    }

    private func assertEqual(_ found: [Sentence], _ expected: [Fixtures.Found], line: UInt = #line) {
        XCTAssertEqual(found.map(\.tokens), expected.map(\.tokens), line: line)
        XCTAssertEqual(found.map(\.cut), expected.map(\.cut), line: line)
        for (one, other) in zip(found, expected) { XCTAssertEqual(one.score, other.score, accuracy: 1e-9, line: line) }
    }
}
