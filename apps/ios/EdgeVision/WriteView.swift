import EdgeVisionKit
import SwiftUI

/// A beginning, and how the model goes on.
struct WriteView: View {
    @State private var prompt = ""
    @State private var text = ""
    @State private var speed = ""
    @State private var temperature = 0.8
    @State private var work: Task<Void, Never>?

    var body: some View {
        NavigationStack {
            VStack(spacing: 16) {
                TextField("A beginning", text: $prompt, axis: .vertical).textFieldStyle(.roundedBorder).lineLimit(1...4)
                HStack {
                    Text("Temperature \(temperature, format: .number.precision(.fractionLength(1)))")
                    Slider(value: $temperature, in: 0...1.5, step: 0.1)
                }
                ScrollView {
                    Text(prompt).foregroundStyle(.secondary) + Text(text)
                }
                .frame(maxWidth: .infinity, maxHeight: .infinity, alignment: .topLeading)
                .textSelection(.enabled)
                Text(speed).font(.footnote).monospacedDigit()
                if let work {
                    Button("Stop") { work.cancel() }.buttonStyle(.bordered)
                } else {
                    Button("Write", action: start).buttonStyle(.borderedProminent)
                }
            }
            .padding()
            .navigationTitle("Write")
        }
    }

    private func start() {
        (text, speed) = ("", "")
        let sampling = Sampling(temperature: temperature, topP: 0.95, seed: .random(in: 0..<1_000_000))
        let beginning = prompt, began = Date()
        work = Task {
            do {
                let stop = try await Models.shared.write(beginning, sampling: sampling) { now in
                    await MainActor.run { text = now }
                    return !Task.isCancelled
                }
                let seconds = Date().timeIntervalSince(began)
                speed = "\(text.count) characters in \(seconds.formatted(.number.precision(.fractionLength(1)))) s"
                if stop == .context { speed += ", as much as the model holds" }
            } catch {
                text = error.localizedDescription
            }
            work = nil
        }
    }
}
