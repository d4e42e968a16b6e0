import ai.onnxruntime.OnnxTensor
import edgevision.app.OnnxCaptioner
import edgevision.app.OnnxClassifier
import edgevision.app.OnnxEngine
import edgevision.kit.BytePairs
import edgevision.kit.Contents
import edgevision.kit.Picture
import edgevision.kit.Sampling
import edgevision.kit.digit
import edgevision.kit.write
import java.io.File

/** Prints what the app's models say, a line of JSON for each: `Drive ASSETS PICTURES`. */
fun main(arguments: Array<String>) {
    val (assets, pictures) = arguments
    fun text(name: String) = File(assets, name).readText()
    fun picture(name: String, width: Int, height: Int, channels: Int) =
        Picture(width, height, channels, File(pictures, "$name.raw").readBytes())
    val contents = Contents(text("models.json"))
    val captioner = OnnxCaptioner("$assets/captioner-encoder.onnx", "$assets/captioner-decoder.onnx")
    for ((name, width, height) in listOf(Triple("scene", 64, 64), Triple("wide", 211, 97), Triple("high", 150, 301))) {
        for (beams in listOf(1, 3)) {
            println(captioner.captions(picture(name, width, height, 3), contents.caption!!, beams).map { it.tokens })
        }
    }
    check(OnnxTensor.alive == 0) { "${OnnxTensor.alive} tensors were not given back" }
    println(OnnxClassifier("$assets/digits.onnx").probabilities(picture("seven", 140, 140, 1).digit()!!))
    val engine = OnnxEngine("$assets/writer.onnx")
    val tokenizer = BytePairs(text("writer-tokenizer.json"))
    for (sampling in listOf(Sampling(), Sampling(temperature = 1.0, topP = 0.95, seed = 5))) {
        engine.restart()
        println("\"${write("a large", engine, tokenizer, contents.write!!, sampling, 24).first}\"")
    }
    System.exit(0)
}
