import EdgeVisionKit
import PhotosUI
import SwiftUI

/// A picture from the library or the camera, and a sentence about it.
struct CaptionView: View {
    @State private var item: PhotosPickerItem?
    @State private var photo: UIImage?
    @State private var text = ""
    @State private var busy = false
    @State private var camera = false
    @State private var beams = 3

    var body: some View {
        NavigationStack {
            VStack(spacing: 16) {
                if let photo {
                    Image(uiImage: photo).resizable().scaledToFit()
                        .accessibilityLabel(text.isEmpty ? "The chosen picture" : text)
                } else {
                    ContentUnavailableView("No picture", systemImage: "photo", description: Text("Choose or take one."))
                }
                if busy { ProgressView() }
                Text(text).font(.title3).multilineTextAlignment(.center).textSelection(.enabled)
                Stepper("Sentences side by side: \(beams)", value: $beams, in: 1...8)
                HStack {
                    PhotosPicker("Choose", selection: $item, matching: .images)
                    if Camera.isThere { Button("Camera") { camera = true } }
                }
                .buttonStyle(.borderedProminent)
                .disabled(busy)
            }
            .padding()
            .navigationTitle("Caption")
            .sheet(isPresented: $camera) { Camera(taken: say).ignoresSafeArea() }
            .onChange(of: item) { _, chosen in
                Task {
                    if let data = try? await chosen?.loadTransferable(type: Data.self) { say(data) }
                }
            }
        }
    }

    private func say(_ data: Data) {
        (photo, text, busy) = (UIImage(data: data), "", true)
        Task {
            do {
                text = try await Models.shared.caption(Picture(photo: data), beams: beams)
            } catch {
                text = error.localizedDescription
            }
            busy = false
        }
    }
}
