import XCTest

@testable import EdgeVisionKit

final class SamplingTests: XCTestCase {
    func testDrawsAreNumPys() throws {
        for entry in try Fixtures.read().draws {
            var random = RandomNumbers(seed: entry.seed, index: entry.index)
            XCTAssertEqual(entry.draws.map { _ in random.next() }, entry.draws, "seed \(entry.seed)")
        }
        var large = RandomNumbers(seed: (1 << 40) + 7)
        XCTAssertEqual(large.next(), 0.829812891829413)
    }

    func testTokensArePythons() throws {
        let fixture = try Fixtures.read().sampling
        for run in fixture.runs {
            var sampler = Sampler(run.settings.sampling), tokens: [Int] = []
            for place in run.tokens.indices {
                tokens.append(try sampler.choose(fixture.logits[place % fixture.logits.count], after: tokens))
            }
            XCTAssertEqual(tokens, run.tokens, "\(run.settings)")
        }
    }

    func testTheHighestInOrder() {
        let scores = (0..<1000).map { Double($0 * 7919 % 101) }
        let sorted = scores.indices.sorted { (-scores[$0], $0) < (-scores[$1], $1) }
        for count in [1, 3, 40, 249, 251, 1000] { XCTAssertEqual(highest(scores, count), Array(sorted.prefix(count))) }
    }

    func testWhatIsNoNumberIsRefused() {
        var sampler = Sampler(Sampling())
        for logits: [Float] in [[1, .nan], [-.infinity, -.infinity], [.infinity, 0]] {
            XCTAssertThrowsError(try sampler.choose(logits, after: []))
        }
    }
}
