import EdgeVisionKit
import ImageIO
import SwiftUI

extension Picture {
    /// The pixels of a photo in a file's bytes: upright, clear parts white, colours as the file has them.
    /// Beyond 4,096 pixels a side it is made smaller while it is read, so that no photo fills the memory.
    init(photo data: Data) throws {
        let options: [CFString: Any] = [
            kCGImageSourceCreateThumbnailFromImageAlways: true,
            kCGImageSourceCreateThumbnailWithTransform: true,
            kCGImageSourceThumbnailMaxPixelSize: 4096,
        ]
        guard let source = CGImageSourceCreateWithData(data as CFData, nil),
            let image = CGImageSourceCreateThumbnailAtIndex(source, 0, options as CFDictionary)
        else { throw Failure("This is not a picture that can be read.") }
        try self.init(image)
    }

    init(_ image: CGImage) throws {
        let rgb = image.colorSpace?.model == .rgb ? image.colorSpace : nil
        let space = rgb ?? CGColorSpace(name: CGColorSpace.sRGB)!
        let (width, height) = (image.width, image.height)
        guard let context = CGContext(
            data: nil, width: width, height: height, bitsPerComponent: 8, bytesPerRow: width * 4, space: space,
            bitmapInfo: CGImageAlphaInfo.noneSkipLast.rawValue)
        else { throw Failure("There is no memory for a picture of \(width) x \(height).") }
        let whole = CGRect(x: 0, y: 0, width: width, height: height)
        context.setFillColor(gray: 1, alpha: 1)
        context.fill(whole)
        context.interpolationQuality = .none
        context.draw(image, in: whole)
        guard let pixels = context.data?.assumingMemoryBound(to: UInt8.self) else {
            throw Failure("There is no memory for a picture of \(width) x \(height).")
        }
        var bytes = [UInt8](repeating: 0, count: width * height * 3)
        for pixel in 0..<(width * height) {
            for channel in 0..<3 { bytes[pixel * 3 + channel] = pixels[pixel * 4 + channel] }
        }
        self.init(width: width, height: height, channels: 3, bytes: bytes)
    }
}

/// The system's camera for one photo.
struct Camera: UIViewControllerRepresentable {
    static var isThere: Bool { UIImagePickerController.isSourceTypeAvailable(.camera) }

    let taken: (Data) -> Void
    @Environment(\.dismiss) private var dismiss

    func makeUIViewController(context: Context) -> UIImagePickerController {
        let picker = UIImagePickerController()
        picker.sourceType = .camera
        picker.delegate = context.coordinator
        return picker
    }

    func updateUIViewController(_ picker: UIImagePickerController, context: Context) {}

    func makeCoordinator() -> Coordinator { Coordinator(self) }

    @MainActor final class Coordinator: NSObject, UIImagePickerControllerDelegate, UINavigationControllerDelegate {
        let camera: Camera

        init(_ camera: Camera) { self.camera = camera }

        func imagePickerController(
            _ picker: UIImagePickerController,
            didFinishPickingMediaWithInfo info: [UIImagePickerController.InfoKey: Any]
        ) {
            let photo = info[.originalImage] as? UIImage
            if let data = photo?.jpegData(compressionQuality: 0.95) { camera.taken(data) }
            camera.dismiss()
        }

        func imagePickerControllerDidCancel(_ picker: UIImagePickerController) { camera.dismiss() }
    }
}
