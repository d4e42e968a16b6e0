package edgevision.app

import android.app.Activity
import edgevision.kit.Failure
import java.util.concurrent.Executors

/** One thread beside that of the screen. */
class Work(private val activity: Activity) {
    private val thread = Executors.newSingleThreadExecutor()

    /** Does the task there, then gives what came out, or a message, to the screen. */
    fun <T> start(task: () -> T, done: (T) -> Unit, failed: (String) -> Unit) = thread.execute {
        val result = try {
            val value = task()
            ({ done(value) })
        } catch (failure: Failure) {
            ({ failed(failure.message ?: "") })
        } catch (error: OutOfMemoryError) {
            ({ failed("The memory of the device is too small for this.") })
        } catch (error: Exception) {
            ({ failed("$error") })
        }
        show(result)
    }

    /** Does something on the screen, unless it is gone. */
    fun show(change: () -> Unit) = activity.runOnUiThread { if (!activity.isDestroyed) change() }

    /** The tasks that have not begun are forgotten. */
    fun close() {
        thread.shutdownNow()
    }
}
