// The part of Core Video that EdgeVisionKit uses. Rows are padded, as the real ones are.

public typealias OSType = UInt32
public let kCVReturnSuccess: Int32 = 0
public let kCVPixelFormatType_OneComponent8: OSType = 8
public let kCVPixelFormatType_32BGRA: OSType = 32

public struct CVPixelBufferLockFlags: OptionSet {
    public let rawValue: UInt64

    public init(rawValue: UInt64) { self.rawValue = rawValue }
}

public final class CVPixelBuffer {
    public let width, height, line, bytesPerPixel: Int
    public let base: UnsafeMutableRawPointer
    public var isLocked = false

    init(_ width: Int, _ height: Int, _ format: OSType) {
        (self.width, self.height, bytesPerPixel) = (width, height, Int(format) / 8)
        line = (width * bytesPerPixel + 63) / 64 * 64
        base = .allocate(byteCount: line * height, alignment: 16)
    }

    deinit { base.deallocate() }
}

public func CVPixelBufferCreate(
    _ allocator: Never?, _ width: Int, _ height: Int, _ format: OSType, _ attributes: Never?,
    _ made: UnsafeMutablePointer<CVPixelBuffer?>
) {
    made.pointee = CVPixelBuffer(width, height, format)
}

public func CVPixelBufferLockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) -> Int32 {
    buffer.isLocked = true
    return kCVReturnSuccess
}

public func CVPixelBufferUnlockBaseAddress(_ buffer: CVPixelBuffer, _ flags: CVPixelBufferLockFlags) {
    buffer.isLocked = false
}

public func CVPixelBufferGetBaseAddress(_ buffer: CVPixelBuffer) -> UnsafeMutableRawPointer? {
    buffer.isLocked ? buffer.base : nil
}

public func CVPixelBufferGetBytesPerRow(_ buffer: CVPixelBuffer) -> Int { buffer.line }
