import Foundation

/// What an artefact of edgevision says of itself: the JSON under the key `edgevision`, the same in every format.
public struct Metadata: Decodable, Equatable, Sendable {
    public static let key = "edgevision"

    public let format: Int
    public let task: String?
    public let labels: [String]?
    public let preprocessing: Preprocessing?
    /// The model's own names to those in the file, where the file wants other ones.
    public let names: [String: String]?

    public struct Preprocessing: Decodable, Equatable, Sendable {
        /// Height and width.
        public let size: [Int]
        /// "grey" or "rgb".
        public let color: String
        public let scale: Float
    }

    public init(_ json: String) throws {
        guard let read = try? JSONDecoder().decode(Metadata.self, from: Data(json.utf8)) else {
            throw Failure("The model's metadata is damaged.")
        }
        guard read.format == 1 else {
            throw Failure("The model has metadata of format \(read.format); this app reads 1.")
        }
        self = read
    }

    public func name(_ original: String) -> String { names?[original] ?? original }
}

/// models.json, which `edgevision app` writes beside the models: what the files are for.
public struct Contents: Decodable, Equatable, Sendable {
    public let format: Int
    public let digits: Digits?
    public let caption: Caption?
    public let write: Write?

    /// A classifier of grey digits.
    public struct Digits: Decodable, Equatable, Sendable { public let labels: [String], side: Int }

    /// A captioner; limit: tokens of a sentence, its end included; side: pixels of a picture.
    public struct Caption: Decodable, Equatable, Sendable { public let start, end, limit, side: Int }

    /// A language model; context: the most tokens; window: how far some of its layers look back.
    public struct Write: Decodable, Equatable, Sendable {
        public let ends: [Int], context: Int, window: Int?
    }

    public init(_ data: Data) throws {
        guard let read = try? JSONDecoder().decode(Contents.self, from: data), read.format == 1 else {
            throw Failure("models.json is damaged, or of another version: write the project anew.")
        }
        self = read
    }
}

/// Probabilities of logits, in the order of the labels.
public func softmax(_ logits: [Float]) -> [Double] {
    let most = logits.max().map(Double.init) ?? 0
    return normalized(logits.map { exp(Double($0) - most) })
}
