import Foundation

/// Byte-level byte-pair encoding (Sennrich et al., 2016; GPT-2's alphabet of bytes) as a `tokenizer.json` holds
/// it: what `edgevision train` writes for characters and for byte pairs, and most small language models.
public struct BytePairs: Sendable {
    public let size: Int
    private let numbers: [String: Int]
    private let texts: [Int: String]
    private let ranks: [Pair: Merge]
    private let special: [(text: String, token: Int)]
    private let splits: Bool
    private let alphabet: Set<Unicode.Scalar>?

    private struct Pair: Hashable { let left, right: Int }
    private struct Merge { let rank, token: Int }

    /// - data: of a tokenizer.json. Throws a `Failure` where it is of another kind.
    public init(_ data: Data) throws {
        guard let file = try? JSONDecoder().decode(File.self, from: data) else {
            throw Failure("tokenizer.json is damaged, or no byte-level BPE.")
        }
        guard file.normalizer == nil, file.pre_tokenizer.type == "ByteLevel", file.decoder.type == "ByteLevel",
            file.pre_tokenizer.add_prefix_space != true, file.model.type ?? "BPE" == "BPE"
        else {
            throw Failure("The tokenizer is no byte-level BPE, the only kind that this app reads.")
        }
        let numbers = file.model.vocab
        self.numbers = numbers
        splits = file.pre_tokenizer.use_regex ?? true
        var texts = Dictionary(numbers.map { ($1, $0) }) { first, _ in first }
        for added in file.added_tokens { texts[added.id] = added.content }
        self.texts = texts
        special = file.added_tokens.map { ($0.content, $0.id) }
            .sorted { $0.text.unicodeScalars.count > $1.text.unicodeScalars.count }
        size = texts.count
        var ranks: [Pair: Merge] = [:]
        for (rank, pair) in file.model.merges.enumerated() {
            guard let left = numbers[pair.left], let right = numbers[pair.right],
                let token = numbers[pair.left + pair.right]
            else { throw Failure("tokenizer.json is damaged: merge \(rank) is of unknown tokens.") }
            ranks[Pair(left: left, right: right)] = Merge(rank: rank, token: token)
        }
        self.ranks = ranks
        alphabet = symbols.allSatisfy { numbers[String($0)] != nil } ? nil : Set(numbers.keys.compactMap {
            let text = Array(String(decoding: bytes(of: $0), as: UTF8.self).unicodeScalars)
            return text.count == 1 && text[0] != "\u{FFFD}" ? text[0] : nil
        })
    }

    /// The tokens of a text; special tokens in it are recognised.
    public func encode(_ text: String) throws -> [Int] {
        var tokens: [Int] = [], plain = String.UnicodeScalarView()
        var rest = text.unicodeScalars[...]
        while let scalar = rest.first {
            if let found = special.first(where: { rest.starts(with: $0.text.unicodeScalars) }) {
                tokens += try encodePlain(plain)
                plain = String.UnicodeScalarView()
                tokens.append(found.token)
                rest = rest.dropFirst(found.text.unicodeScalars.count)
            } else {
                plain.append(scalar)
                rest = rest.dropFirst()
            }
        }
        return tokens + (try encodePlain(plain))
    }

    /// The text of tokens, special ones left out; bytes that are no text become U+FFFD.
    public func decode(_ tokens: [Int]) -> String {
        let hidden = Set(special.map(\.token))
        return String(decoding: tokens.filter { !hidden.contains($0) }.flatMap { bytes(of: texts[$0] ?? "") },
            as: UTF8.self)
    }

    /// The token that a text stands for as a whole, such as <|endoftext|>.
    public func token(_ text: String) -> Int? { special.first { $0.text == text }?.token ?? numbers[text] }

    private func encodePlain(_ scalars: String.UnicodeScalarView) throws -> [Int] {
        if let alphabet, let strange = scalars.first(where: { !alphabet.contains($0) }) {
            throw Failure("The model knows no character \"\(strange)\": it was trained on others.")
        }
        return (splits ? words(scalars) : [scalars]).flatMap(merged)
    }

    /// The pair of the lowest rank is joined, the leftmost first, until none is left.
    private func merged(_ word: String.UnicodeScalarView) -> [Int] {
        var tokens = String(word).utf8.compactMap { numbers[String(symbols[Int($0)])] }
        func merge(_ place: Int) -> Merge? {
            place >= 0 && place + 1 < tokens.count
                ? ranks[Pair(left: tokens[place], right: tokens[place + 1])] : nil
        }
        var found = tokens.indices.map { merge($0)?.rank ?? Int.max }
        while let least = found.min(), least < Int.max, let place = found.firstIndex(of: least),
            let joined = merge(place)
        {
            tokens[place] = joined.token
            tokens.remove(at: place + 1)
            found.remove(at: place + 1)
            for near in [place - 1, place] where near >= 0 { found[near] = merge(near)?.rank ?? Int.max }
        }
        return tokens
    }
}

/// GPT-2's character for each byte: itself where it can be seen, else one from U+0100 on.
private let symbols: [Unicode.Scalar] = {
    var next: UInt32 = 0x100
    return (0..<256).map { (byte: UInt32) in
        let seen = 0x21...0x7E ~= byte || 0xA1...0xAC ~= byte || 0xAE...0xFF ~= byte
        if !seen { next += 1 }
        return Unicode.Scalar(seen ? byte : next - 1)!
    }
}()

private let byteOf = Dictionary(uniqueKeysWithValues: symbols.enumerated().map { ($1, UInt8($0)) })

private func bytes(of token: String) -> [UInt8] {
    let known = token.unicodeScalars.compactMap { byteOf[$0] }
    return known.count == token.unicodeScalars.count ? known : Array(token.utf8)
}

/// GPT-2's pieces of a text: 's|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+
func words(_ scalars: String.UnicodeScalarView) -> [String.UnicodeScalarView] {
    let text = Array(scalars), kinds = text.map(kind)
    var pieces: [String.UnicodeScalarView] = [], place = 0
    while place < text.count {
        var end = place + 1
        let contraction = ["'s", "'t", "'re", "'ve", "'m", "'ll", "'d"].first {
            text[place...].starts(with: $0.unicodeScalars)
        }
        let first = text[place] == " " && end < text.count ? end : place
        if let contraction {
            end = place + contraction.unicodeScalars.count
        } else if kinds[first] != .blank {
            end = first + 1
            while end < text.count, kinds[end] == kinds[first] { end += 1 }
        } else {
            while end < text.count, kinds[end] == .blank { end += 1 }
            if end < text.count, end - place > 1 { end -= 1 }  // the last blank belongs to what follows
        }
        pieces.append(String.UnicodeScalarView(text[place..<end]))
        place = end
    }
    return pieces
}

private enum Kind { case letter, number, blank, other }

private func kind(_ scalar: Unicode.Scalar) -> Kind {
    if scalar.properties.isWhitespace { return .blank }
    switch scalar.properties.generalCategory {
    case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: return .letter
    case .decimalNumber, .letterNumber, .otherNumber: return .number
    default: return .other
    }
}

/// The parts of tokenizer.json that are read, by their names there.
private struct File: Decodable {
    struct Added: Decodable { let id: Int, content: String }
    struct Part: Decodable { let type: String, add_prefix_space: Bool?, use_regex: Bool? }
    struct Model: Decodable { let type: String?, vocab: [String: Int], merges: [Merge] }

    /// Two tokens: a list, or in older files a text with a blank between.
    struct Merge: Decodable {
        let left, right: String

        init(from decoder: Decoder) throws {
            let value = try decoder.singleValueContainer()
            let parts = try (try? value.decode([String].self))
                ?? value.decode(String.self).split(separator: " ").map(String.init)
            guard parts.count == 2 else {
                throw DecodingError.dataCorruptedError(in: value, debugDescription: "two tokens")
            }
            (left, right) = (parts[0], parts[1])
        }
    }

    struct Normalizer: Decodable {}

    let added_tokens: [Added], normalizer: Normalizer?, pre_tokenizer: Part, decoder: Part, model: Model
}
