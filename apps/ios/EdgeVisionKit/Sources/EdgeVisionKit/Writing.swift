import Foundation

/// One text in work: tokens in, logits (V) of the next out, the cache kept inside.
public protocol Engine {
    func next(_ tokens: [Int]) async throws -> [Float]
    /// Begin another text.
    func restart()
}

/// Why a text ended: the model's end token, as many tokens as asked for, or as many as it can hold.
public enum Stop: String, Sendable { case end, length, context }

/// Goes on with a text, token by token; `show` is given the whole text so far and says whether to go on.
///
/// - ends: tokens that end a text. context: the most tokens of prompt and text together.
/// Gives the text without the prompt, and why it ended.
@discardableResult
public func write(
    after prompt: String, with engine: Engine, tokenizer: BytePairs, ends: [Int], context: Int,
    sampling: Sampling = Sampling(), limit: Int = 256, show: (String) async -> Bool = { _ in true }
) async throws -> (text: String, stop: Stop) {
    var tokens = try tokenizer.encode(prompt)
    if tokens.isEmpty, let end = ends.first { tokens = [end] }  // what stands before the beginning of a text
    guard !tokens.isEmpty else { throw Failure("The prompt is empty.") }
    guard tokens.count < context else {
        throw Failure("The prompt has \(tokens.count) tokens, the model takes \(context - 1).")
    }
    var sampler = Sampler(sampling), written: [Int] = [], text = ""
    var logits = try await engine.next(tokens)
    while true {
        let token = try sampler.choose(logits, after: tokens + written)
        if ends.contains(token) { return (text, .end) }
        guard token < tokenizer.size else {
            throw Failure("The model wrote token \(token), the tokenizer has \(tokenizer.size).")
        }
        written.append(token)
        text = tokenizer.decode(written)
        if !text.hasSuffix("\u{FFFD}"), await !show(text) { return (text, .length) }  // half a character is held back
        if written.count == limit { return (text, .length) }
        if tokens.count + written.count >= context { return (text, .context) }
        logits = try await engine.next([token])
    }
}
