"""Apps with a trained model inside: projects for Xcode and Android Studio."""
