import SwiftUI

@main
struct EdgeVisionApp: App {
    var body: some Scene {
        WindowGroup {
            TabView {
                CaptionView().tabItem { Label("Caption", systemImage: "text.below.photo") }
                DigitsView().tabItem { Label("Digits", systemImage: "pencil.and.scribble") }
                WriteView().tabItem { Label("Write", systemImage: "text.cursor") }
            }
        }
    }
}
