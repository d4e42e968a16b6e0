/// Pixels of 8 bits, row by row: one channel is grey, three are red, green and blue.
public struct Picture: Equatable, Sendable {
    public let width: Int
    public let height: Int
    public let channels: Int
    public var bytes: [UInt8]

    public init(width: Int, height: Int, channels: Int, bytes: [UInt8]) {
        precondition(bytes.count == width * height * channels)
        self.width = width
        self.height = height
        self.channels = channels
        self.bytes = bytes
    }

    /// As `edgevision` makes it of what it is given: the numbers are those of Pillow, to the last bit.
    public func resized(width newWidth: Int, height newHeight: Int, filter: Filter = .bilinear) -> Picture {
        var picture = self
        if newWidth != width { picture = picture.acrossColumns(Weights(from: width, to: newWidth, filter)) }
        if newHeight != height { picture = picture.acrossRows(Weights(from: height, to: newHeight, filter)) }
        return picture
    }

    /// (value * scale - mean) / std of each channel, in the order of the bytes.
    public func normalized(scale: Float, mean: [Float], std: [Float]) -> [Float] {
        bytes.enumerated().map { place, byte in
            (Float(byte) * scale - mean[place % channels]) / std[place % channels]
        }
    }

    private func acrossColumns(_ weights: Weights) -> Picture {
        var new = [UInt8](repeating: 0, count: weights.count * height * channels)
        for row in 0..<height {
            for column in 0..<weights.count {
                let start = (row * width + weights.first[column]) * channels
                for channel in 0..<channels {
                    new[(row * weights.count + column) * channels + channel] =
                        weights.sum(column, bytes, at: start + channel, step: channels)
                }
            }
        }
        return Picture(width: weights.count, height: height, channels: channels, bytes: new)
    }

    private func acrossRows(_ weights: Weights) -> Picture {
        let line = width * channels
        var new = [UInt8](repeating: 0, count: weights.count * line)
        for row in 0..<weights.count {
            for place in 0..<line {
                new[row * line + place] = weights.sum(row, bytes, at: weights.first[row] * line + place, step: line)
            }
        }
        return Picture(width: width, height: weights.count, channels: channels, bytes: new)
    }
}

/// How neighbours are weighed; `reach` is in pixels of the smaller of both pictures.
public enum Filter: Sendable {
    case box, bilinear, bicubic

    var reach: Double {
        switch self {
        case .box: return 0.5
        case .bilinear: return 1
        case .bicubic: return 2
        }
    }

    func weight(_ distance: Double) -> Double {
        let x = abs(distance)
        switch self {
        case .box: return distance > -0.5 && distance <= 0.5 ? 1 : 0
        case .bilinear: return x < 1 ? 1 - x : 0
        case .bicubic:
            let a = -0.5
            if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
            return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0
        }
    }
}

/// Pillow's weights: an antialiased filter, for 8 bits in whole numbers with 22 bits behind the point.
struct Weights {
    static let bits = 22
    let first: [Int]
    let exact: [[Double]]
    let whole: [[Int]]
    var count: Int { first.count }

    init(from size: Int, to newSize: Int, _ filter: Filter) {
        let scale = Double(size) / Double(newSize), stretch = max(scale, 1), reach = filter.reach * stretch
        var first: [Int] = [], exact: [[Double]] = []
        for place in 0..<newSize {
            let centre = (Double(place) + 0.5) * scale
            let low = max(Int(centre - reach + 0.5), 0), high = min(Int(centre + reach + 0.5), size)
            let weights = (low..<high).map { filter.weight((Double($0) - centre + 0.5) * (1 / stretch)) }
            let sum = weights.reduce(0, +)
            first.append(low)
            exact.append(sum == 0 ? weights : weights.map { $0 / sum })
        }
        self.first = first
        self.exact = exact
        whole = exact.map { row in
            row.map { Int($0 * Double(1 << Self.bits) + ($0 < 0 ? -0.5 : 0.5)) }
        }
    }

    func sum(_ place: Int, _ bytes: [UInt8], at start: Int, step: Int) -> UInt8 {
        var total = 1 << (Self.bits - 1), at = start
        for weight in whole[place] {
            total += Int(bytes[at]) * weight
            at += step
        }
        return UInt8(clamping: total >> Self.bits)
    }
}

extension Picture {
    /// The bytes as float32 in [0, 1], the rows as they are.
    public var unitRange: [Float] { bytes.map { Float($0) / 255 } }
}
