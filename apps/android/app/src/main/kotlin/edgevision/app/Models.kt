package edgevision.app

import android.content.Context
import edgevision.kit.BytePairs
import edgevision.kit.Contents
import edgevision.kit.Failure
import edgevision.kit.Picture
import edgevision.kit.Sampling
import edgevision.kit.Stop
import java.io.File
import java.io.FileNotFoundException

/** The models that `edgevision app android` put into the assets, each opened when it is first needed. */
class Models(private val context: Context) {
    val contents by lazy { Contents(text("models.json")) }

    private val digits by lazy { OnnxClassifier(file("digits.onnx")) }
    private val captioner by lazy { OnnxCaptioner(file("captioner-encoder.onnx"), file("captioner-decoder.onnx")) }
    private val writer by lazy { OnnxEngine(file("writer.onnx")) }
    private val captionerWords by lazy { BytePairs(text("captioner-tokenizer.json")) }
    private val writerWords by lazy { BytePairs(text("writer-tokenizer.json")) }

    /** The probabilities of a drawn digit. */
    fun classify(picture: Picture): List<Double> {
        contents.digits ?: throw Failure("There is no model for digits in the app.")
        return digits.probabilities(picture)
    }

    /** The best sentence about a picture. */
    fun caption(picture: Picture, beams: Int): String {
        val model = contents.caption ?: throw Failure("There is no captioner in the app.")
        return captionerWords.decode(captioner.captions(picture, model, beams).first().tokens).trim()
    }

    /** Goes on with a text; `show` gets all of it again and again, and says whether to go on. */
    fun write(prompt: String, sampling: Sampling, show: (String) -> Boolean): Stop {
        val model = contents.write ?: throw Failure("There is no language model in the app.")
        writer.restart()
        return edgevision.kit.write(prompt, writer, writerWords, model, sampling, show = show).second
    }

    private fun text(name: String): String = try {
        context.assets.open(name).use { String(it.readBytes(), Charsets.UTF_8) }
    } catch (missing: FileNotFoundException) {
        throw Failure("The app was built without $name: edgevision app android --model ... --out DIR")
    }

    /** A model as a file, which the runtime maps into memory: copied out of the app once for each version of it. */
    private fun file(name: String): String {
        val installed = context.packageManager.getPackageInfo(context.packageName, 0).lastUpdateTime
        val copy = File(context.noBackupFilesDir, "$installed-$name")
        if (!copy.exists()) {
            context.noBackupFilesDir.listFiles { file -> file.name.endsWith("-$name") }?.forEach { it.delete() }
            val part = File(context.noBackupFilesDir, "part-$name")
            context.assets.open(name).use { from -> part.outputStream().use { from.copyTo(it) } }
            if (!part.renameTo(copy)) throw Failure("There is no room for $name on the device.")
        }
        return copy.path
    }
}
