plugins {
    id("com.android.application")
    kotlin("android")
}

android {
    namespace = "edgevision.app"
    compileSdk = 35
    defaultConfig {
        applicationId = "com.example.edgevision"
        minSdk = 24
        targetSdk = 35
        versionCode = 1
        versionName = "1.0"
    }
    androidResources {
        noCompress += "onnx"
    }
}

kotlin {
    jvmToolchain(17)
}

dependencies {
    implementation(project(":kit"))
    implementation("com.microsoft.onnxruntime:onnxruntime-android:1.30.0")
}
