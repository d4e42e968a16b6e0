import Foundation

/// A decoder in the midst of R sentences about one picture.
public protocol Rows {
    /// One more token for each of the R sentences, to the logits (R, V) of the next.
    func next(_ tokens: [Int]) async throws -> [[Float]]
    /// Go on with these of the rows; some may be left out, some taken twice.
    func reorder(_ rows: [Int]) async throws
}

/// One sentence: tokens without the first and the end token; `cut` where the limit came before the end.
public struct Sentence: Equatable, Sendable {
    public let tokens: [Int]
    public let score: Double
    public let cut: Bool
}

/// The best `beams` sentences, best first: the beam search of `edgevision caption --beams`, which is that of
/// Hugging Face's `generate` with `early_stopping=False`.
///
/// - limit: tokens, the end token included. penalty: power of the length that scores are divided by.
/// - distinct: no sequence of that many tokens occurs twice; 0 for any.
public func search(
    _ rows: Rows, start: Int, end: Int, beams: Int, limit: Int, penalty: Double = 1, distinct: Int = 0
) async throws -> [Sentence] {
    var running = [[Int]](repeating: [start], count: beams)
    var scores = [0.0] + [Double](repeating: -1e9, count: beams - 1)  // all rows are the same yet: one counts
    var finished: [(score: Double, tokens: [Int])] = []
    for length in 1...max(limit, 1) {
        var known = try await rows.next(running.map { $0[$0.count - 1] }).map(logSoftmax)
        if distinct > 0 {
            for row in running.indices {
                for token in repeated(running[row], distinct) { known[row][token] = -.infinity }
            }
        }
        let vocabulary = known[0].count
        let total = zip(scores, known).flatMap { score, row in row.map { score + $0 } }
        let best = highest(total, min(2 * beams, total.count))
        var going: [Int] = []
        for (rank, place) in best.enumerated() {
            if place % vocabulary == end || length == limit {
                guard rank < beams else { continue }
                let tokens = running[place / vocabulary] + [place % vocabulary]
                finished.append((total[place] / pow(Double(length), penalty), tokens))
            } else if going.count < beams {
                going.append(place)
            }
        }
        let order = highest(finished.map(\.score), finished.count)
        finished = order.prefix(beams).map { finished[$0] }
        if length == limit || going.isEmpty { break }
        running = going.map { running[$0 / vocabulary] + [$0 % vocabulary] }
        scores = going.map { total[$0] }
        let hope = scores[0] / pow(Double(length), penalty)
        if finished.count == beams, let worst = finished.last, hope <= worst.score { break }
        try await rows.reorder(going.map { $0 / vocabulary })
    }
    return finished.map { score, tokens in
        Sentence(tokens: tokens.dropFirst().filter { $0 != end }, score: score, cut: tokens.last != end)
    }
}

/// `count` sentences, drawn token by token; a temperature of 0 takes the most probable each time.
public func draw(
    _ rows: Rows, start: Int, end: Int, limit: Int, sampling: Sampling = Sampling(), count: Int = 1
) async throws -> [Sentence] {
    var samplers = (0..<count).map { Sampler(sampling, index: $0) }
    var texts = [[Int]](repeating: [], count: count)
    var sums = [Double](repeating: 0, count: count)
    var tokens = [Int](repeating: start, count: count)
    for _ in 0..<limit where texts.contains(where: { $0.last != end }) {
        let logits = try await rows.next(tokens)
        for row in 0..<count where texts[row].last != end {
            tokens[row] = try samplers[row].choose(logits[row], after: texts[row])
            sums[row] += logSoftmax(logits[row])[tokens[row]]
            texts[row].append(tokens[row])
        }
    }
    return zip(texts, sums).map { text, sum in
        Sentence(tokens: text.filter { $0 != end }, score: sum / Double(text.count), cut: text.last != end)
    }
}

func logSoftmax(_ logits: [Float]) -> [Double] {
    let values = logits.map(Double.init)
    let most = values.max() ?? 0
    let sum = log(values.reduce(0) { $0 + exp($1 - most) })
    return values.map { $0 - most - sum }
}

/// Tokens that would repeat a sequence of `length` tokens of the text.
private func repeated(_ text: [Int], _ length: Int) -> [Int] {
    guard text.count >= length else { return [] }
    let tail = Array(text.suffix(length - 1))
    return (0...(text.count - length)).filter { Array(text[$0..<($0 + length - 1)]) == tail }
        .map { text[$0 + length - 1] }
}
