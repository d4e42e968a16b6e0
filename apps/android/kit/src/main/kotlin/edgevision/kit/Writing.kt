package edgevision.kit

/** One text in work: tokens in, logits (V) of the next out, the cache kept inside. */
interface Engine {
    fun next(tokens: List<Int>): FloatArray
}

/** Why a text ended: the model's end token, as many tokens as asked for, or as many as it can hold. */
enum class Stop { END, LENGTH, CONTEXT }

/**
 * Goes on with a text, token by token; `show` is given the whole text so far and says whether to go on.
 *
 * @return the text without the prompt, and why it ended.
 */
fun write(
    prompt: String, engine: Engine, tokenizer: BytePairs, model: Contents.Write,
    sampling: Sampling = Sampling(), limit: Int = 256, show: (String) -> Boolean = { true }
): Pair<String, Stop> {
    val begun = tokenizer.encode(prompt)
    val tokens = if (begun.isEmpty()) model.ends.take(1) else begun  // the end stands before the beginning too
    if (tokens.isEmpty()) throw Failure("The prompt is empty.")
    if (tokens.size >= model.context) {
        throw Failure("The prompt has ${tokens.size} tokens, the model takes ${model.context - 1}.")
    }
    val sampler = Sampler(sampling)
    val written = ArrayList<Int>()
    var text = ""
    var logits = engine.next(tokens)
    while (true) {
        val token = sampler.choose(logits, tokens + written)
        if (token in model.ends) return Pair(text, Stop.END)
        if (token >= tokenizer.size) throw Failure("The model wrote token $token, the tokenizer has ${tokenizer.size}.")
        written.add(token)
        text = tokenizer.decode(written)
        if (!text.endsWith("\uFFFD") && !show(text)) return Pair(text, Stop.LENGTH)  // half a character is held back
        if (written.size == limit) return Pair(text, Stop.LENGTH)
        if (tokens.size + written.size >= model.context) return Pair(text, Stop.CONTEXT)
        logits = engine.next(listOf(token))
    }
}
