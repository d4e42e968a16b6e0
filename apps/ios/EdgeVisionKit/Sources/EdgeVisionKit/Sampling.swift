import Foundation

/// How a token is drawn: the settings of `edgevision generate`, with the same meaning and the same draws.
public struct Sampling: Equatable, Sendable {
    /// 0 takes the most probable token; logits are divided by it else.
    public var temperature = 0.0
    /// Only that many most probable tokens; 0 for all.
    public var topK = 0
    /// The fewest tokens whose probabilities reach it; 1 for all.
    public var topP = 1.0
    /// Tokens at least this share as probable as the most probable one; 0 for all.
    public var minP = 0.0
    /// Above 1, tokens of the text so far become less probable.
    public var repetitionPenalty = 1.0
    public var seed = 0

    public init(
        temperature: Double = 0, topK: Int = 0, topP: Double = 1, minP: Double = 0,
        repetitionPenalty: Double = 1, seed: Int = 0
    ) {
        self.temperature = temperature
        self.topK = topK
        self.topP = topP
        self.minP = minP
        self.repetitionPenalty = repetitionPenalty
        self.seed = seed
    }
}

/// Draws the tokens of one text; `index` says which text of several.
public struct Sampler {
    public let sampling: Sampling
    private var random: RandomNumbers

    public init(_ sampling: Sampling, index: Int = 0) {
        self.sampling = sampling
        random = RandomNumbers(seed: sampling.seed, index: index)
    }

    /// The next token from logits (V), after the tokens of `text`.
    public mutating func choose(_ logits: [Float], after text: [Int]) throws -> Int {
        var scores = logits.map(Double.init)
        guard !scores.contains(where: \.isNaN), let best = scores.max(), best.isFinite else {
            throw Failure("The model gives values that are no numbers.")
        }
        if sampling.repetitionPenalty != 1 {
            for token in Set(text) where scores.indices.contains(token) {
                scores[token] = scores[token] > 0
                    ? scores[token] / sampling.repetitionPenalty : scores[token] * sampling.repetitionPenalty
            }
        }
        if sampling.temperature == 0 { return highest(scores, 1)[0] }
        let (kept, probabilities) = distribution(scores, sampling)
        let drawn = random.next()
        var sum = 0.0
        for (token, probability) in zip(kept, probabilities) {
            sum += probability
            if sum > drawn { return token }
        }
        return kept[kept.count - 1]
    }
}

/// The tokens that may be drawn, most probable first, and their probabilities; from scores (V).
/// Temperature first, then top-k, top-p and min-p, each on what the one before left.
func distribution(_ scores: [Double], _ sampling: Sampling) -> ([Int], [Double]) {
    var order = highest(scores, sampling.topK > 0 ? min(sampling.topK, scores.count) : scores.count)
    var probabilities = normalized(order.map { exp((scores[$0] - scores[order[0]]) / sampling.temperature) })
    if sampling.topP < 1 {
        var sum = 0.0, count = 0
        while count < order.count, sum < sampling.topP {
            sum += probabilities[count]
            count += 1
        }
        order = Array(order.prefix(count))
        probabilities = Array(probabilities.prefix(count))
    }
    if sampling.minP > 0 {
        let least = sampling.minP * probabilities[0]
        let count = probabilities.prefix { $0 >= least }.count  // they fall
        order = Array(order.prefix(count))
        probabilities = Array(probabilities.prefix(count))
    }
    return (order, normalized(probabilities))
}

func normalized(_ values: [Double]) -> [Double] {
    let sum = values.reduce(0, +)
    return values.map { $0 / sum }
}

/// The places of the `count` highest scores, highest first, earlier places first among equals.
func highest(_ scores: [Double], _ count: Int) -> [Int] {
    if count * 4 > scores.count {
        let order = scores.indices.sorted { scores[$0] != scores[$1] ? scores[$0] > scores[$1] : $0 < $1 }
        return Array(order.prefix(count))
    }
    var best: [Int] = []
    for place in scores.indices where best.count < count || scores[place] > scores[best[count - 1]] {
        if best.count == count { best.removeLast() }
        var low = best.count
        while low > 0, scores[place] > scores[best[low - 1]] { low -= 1 }
        best.insert(place, at: low)
    }
    return best
}
