import EdgeVisionKit
import SwiftUI

/// A canvas for a digit; the probabilities move while it is drawn.
struct DigitsView: View {
    private static let side = 280.0

    @State private var lines: [[CGPoint]] = []
    @State private var found: [Double] = []
    @State private var message = ""
    @State private var work: Task<Void, Never>?

    var body: some View {
        NavigationStack {
            VStack(spacing: 16) {
                drawing
                    .frame(width: Self.side, height: Self.side)
                    .clipShape(RoundedRectangle(cornerRadius: 12))
                    .gesture(pen)
                    .accessibilityLabel("Draw a digit here")
                ForEach(Array(zip(labels, found).enumerated()), id: \.offset) { _, pair in
                    ProgressView(value: pair.1) {
                        HStack {
                            Text(pair.0).monospacedDigit()
                            Spacer()
                            Text(pair.1, format: .percent.precision(.fractionLength(1)))
                        }
                    }
                }
                Text(message)
                Button("Clear") { (lines, found, message) = ([], [], "") }
            }
            .padding()
            .navigationTitle("Digits")
        }
    }

    private var labels: [String] { (try? Models.contents.get().digits?.labels) ?? [] }

    private var drawing: some View {
        Canvas { context, size in
            context.fill(Path(CGRect(origin: .zero, size: size)), with: .color(.black))
            for line in lines {
                var path = Path()
                path.addLines(line.count == 1 ? [line[0], line[0]] : line)
                context.stroke(path, with: .color(.white), style: .init(lineWidth: 22, lineCap: .round, lineJoin: .round))
            }
        }
    }

    private var pen: some Gesture {
        DragGesture(minimumDistance: 0)
            .onChanged { touch in
                if touch.translation == .zero || lines.isEmpty { lines.append([]) }
                lines[lines.count - 1].append(touch.location)
                look()
            }
            .onEnded { _ in look() }
    }

    /// One picture at a time: what is drawn meanwhile is looked at next.
    private func look() {
        guard work == nil else { return }
        work = Task {
            let seen = lines
            do {
                if let digit = try picture().digit() { found = try await Models.shared.classify(digit) }
            } catch {
                message = error.localizedDescription
            }
            work = nil
            if seen != lines { look() }
        }
    }

    @MainActor private func picture() throws -> Picture {
        let renderer = ImageRenderer(content: drawing.frame(width: Self.side, height: Self.side))
        renderer.scale = 1
        guard let image = renderer.cgImage else { throw Failure("The drawing cannot be read.") }
        let color = try Picture(image)
        let grey = stride(from: 0, to: color.bytes.count, by: 3).map { color.bytes[$0] }
        return Picture(width: color.width, height: color.height, channels: 1, bytes: grey)
    }
}
