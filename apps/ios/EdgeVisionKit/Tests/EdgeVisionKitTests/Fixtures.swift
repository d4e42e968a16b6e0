import Foundation

@testable import EdgeVisionKit

/// apps/fixtures: what Python made. A project that `edgevision app ios` wrote has them in `Fixtures`.
struct Fixtures: Decodable {
    let pictures: [Photo], digits: [Drawing], tokenizers: [Words], draws: [Draws]
    let sampling: Samplings, sentences: Sentences, texts: Texts

    struct Photo: Decodable {
        struct Seen: Decodable { let side: Int, bytes: Data }
        struct Resized: Decodable { let filter: String, width: Int, height: Int, bytes: Data }
        let name, raw: String, width, height, channels: Int, seen: [Seen], resized: [Resized]
    }
    struct Drawing: Decodable { let name, raw: String, width, height, channels: Int, digit: Data }
    struct Words: Decodable {
        struct Text: Decodable { let text: String, tokens: [Int], back: String }
        struct Tokens: Decodable { let tokens: [Int], text: String }
        let file: String, size: Int, texts: [Text], tokens: [Tokens], refused: [String]
    }
    struct Draws: Decodable { let seed, index: Int, draws: [Double] }
    struct Settings: Decodable {
        let temperature: Double, top_k: Int, top_p, min_p, repetition_penalty: Double, seed: Int

        var sampling: Sampling {
            Sampling(
                temperature: temperature, topK: top_k, topP: top_p, minP: min_p,
                repetitionPenalty: repetition_penalty, seed: seed)
        }
    }
    struct Samplings: Decodable { let logits: [[Float]], runs: [Run] }
    struct Run: Decodable {
        let settings: Settings, tokens: [Int]

        private enum Keys: String, CodingKey { case tokens }

        init(from decoder: Decoder) throws {
            settings = try Settings(from: decoder)
            tokens = try decoder.container(keyedBy: Keys.self).decode([Int].self, forKey: .tokens)
        }
    }
    struct Found: Decodable { let tokens: [Int], score: Double, cut: Bool }
    struct Sentences: Decodable {
        struct Beams: Decodable { let beams, limit, distinct: Int, penalty: Double, found: [Found] }
        struct Draws: Decodable { let sampling: Settings, count, limit: Int, found: [Found] }
        let table: [[Float]], start, end: Int, beams: [Beams], draws: [Draws]
    }
    struct Texts: Decodable {
        struct Run: Decodable { let sampling: Settings, limit, context: Int, prompt, text, stop: String }
        let tokenizer: String, table: [[Float]], end: Int, runs: [Run]
    }

    static func data(_ name: String) throws -> Data {
        let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
        let places = ["../../../../fixtures", "../../Fixtures"].map {
            tests.appendingPathComponent($0).appendingPathComponent(name).standardizedFileURL
        }
        guard let found = places.first(where: { FileManager.default.fileExists(atPath: $0.path) }) else {
            throw Failure("There are no fixtures at \(places[0].path).")
        }
        return try Data(contentsOf: found)
    }

    static func read() throws -> Fixtures { try JSONDecoder().decode(Fixtures.self, from: data("fixtures.json")) }
}

/// Logits of a text: the row (sum of (place + 1) * token) % rows of a table.
final class Table: Rows, Engine {
    let table: [[Float]]
    var texts: [[Int]]

    init(_ table: [[Float]], rows: Int = 1) {
        self.table = table
        texts = [[Int]](repeating: [], count: rows)
    }

    func next(_ tokens: [Int]) -> [[Float]] {
        for (row, token) in tokens.enumerated() { texts[row].append(token) }
        return texts.map { text in
            table[text.enumerated().reduce(0) { $0 + ($1.offset + 1) * $1.element } % table.count]
        }
    }

    func next(_ tokens: [Int]) -> [Float] {
        var last: [[Float]] = []
        for token in tokens { last = next([token]) }
        return last[0]
    }

    func reorder(_ rows: [Int]) { texts = rows.map { texts[$0] } }

    func restart() { texts = texts.map { _ in [] } }
}
