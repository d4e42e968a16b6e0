import XCTest

@testable import EdgeVisionKit

final class BytePairsTests: XCTestCase {
    func testTextsAndTokensArePythons() throws {
        for fixture in try Fixtures.read().tokenizers {
            let tokenizer = try BytePairs(Fixtures.data(fixture.file))
            XCTAssertEqual(tokenizer.size, fixture.size)
            for entry in fixture.texts {
                XCTAssertEqual(try tokenizer.encode(entry.text), entry.tokens, entry.text)
                XCTAssertEqual(tokenizer.decode(entry.tokens), entry.back)
            }
            for entry in fixture.tokens { XCTAssertEqual(tokenizer.decode(entry.tokens), entry.text) }
            for text in fixture.refused { XCTAssertThrowsError(try tokenizer.encode(text)) }
        }
    }

    func testALongWordComesBack() throws {
        let tokenizer = try BytePairs(Fixtures.data("bpe-tokenizer.json"))
        let long = String(repeating: "the", count: 3000)
        XCTAssertEqual(tokenizer.decode(try tokenizer.encode(long)), long)
    }

    func testOtherTokenizersAreRefused() {
        let made = { (normalizer: String, kind: String, merges: String) in
            Data("""
                {"added_tokens": [], "normalizer": \(normalizer), "pre_tokenizer": {"type": "\(kind)"},
                 "decoder": {"type": "ByteLevel"}, "model": {"type": "BPE", "vocab": {"a": 0}, "merges": \(merges)}}
                """.utf8)
        }
        XCTAssertNoThrow(try BytePairs(made("null", "ByteLevel", "[]")))
        XCTAssertThrowsError(try BytePairs(made("{\"type\": \"NFC\"}", "ByteLevel", "[]")))
        XCTAssertThrowsError(try BytePairs(made("null", "Metaspace", "[]")))
        XCTAssertThrowsError(try BytePairs(made("null", "ByteLevel", "[[\"a\", \"b\"]]")))
        XCTAssertThrowsError(try BytePairs(Data("no json".utf8)))
    }
}
