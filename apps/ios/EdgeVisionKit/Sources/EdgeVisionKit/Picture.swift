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

    /// Pillow's resize, to the last bit of version 13: antialiased, rounded to 8 bits after the columns and after the rows.
    /// - gap: whole blocks are averaged first, so that this many times the new size is left to be weighed.
    public func resized(width newWidth: Int, height newHeight: Int, filter: Filter, gap: Double? = nil) -> Picture {
        if newWidth == width, newHeight == height { return self }
        let block = { (old: Int, new: Int) in gap.map { max(Int(Double(old) / Double(new) / $0), 1) } ?? 1 }
        let (wide, high) = (block(width, newWidth), block(height, newHeight))
        var picture = averaged(wide, high)
        let columns = Weights(Float(width) / Float(wide), of: picture.width, to: newWidth, filter)
        let rows = Weights(Float(height) / Float(high), of: picture.height, to: newHeight, filter)
        if isMuchHigher(picture.width, picture.height, newWidth, newHeight) {
            picture = picture.acrossRows(rows)
            return newWidth == width ? picture : picture.acrossColumns(columns)
        }
        if newWidth != width { picture = picture.acrossColumns(columns) }
        return newHeight == height ? picture : picture.acrossRows(rows)
    }

    /// The whole picture in a square, as a captioner sees it.
    public func squeezed(_ side: Int) -> Picture { resized(width: side, height: side, filter: .bicubic, gap: 3) }

    /// The mean of each block of wide x high pixels; at the right and below, of what there is.
    private func averaged(_ wide: Int, _ high: Int) -> Picture {
        if wide == 1, high == 1 { return self }
        let (newWidth, newHeight) = ((width + wide - 1) / wide, (height + high - 1) / high)
        var new = [UInt8](repeating: 0, count: newWidth * newHeight * channels)
        for place in new.indices {
            let (pixel, channel) = place.quotientAndRemainder(dividingBy: channels)
            let (row, column) = pixel.quotientAndRemainder(dividingBy: newWidth)
            let (down, across) = (min(high, height - row * high), min(wide, width - column * wide))
            var sum = down * across / 2
            for y in 0..<down {
                for x in 0..<across {
                    sum += Int(bytes[((row * high + y) * width + column * wide + x) * channels + channel])
                }
            }
            let share = Int(Float(1 << 32) / Float(256 * down * across))
            new[place] = UInt8((sum * share) >> 24)
        }
        return Picture(width: newWidth, height: newHeight, channels: channels, bytes: new)
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

/// Whether Pillow, since version 13, begins with the rows: where more than twice as many rows as columns go.
func isMuchHigher(_ width: Int, _ height: Int, _ newWidth: Int, _ newHeight: Int) -> Bool {
    height > newHeight && height - newHeight > 2 * (width - newWidth)
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

    /// - extent: of the old pixels, the part that counts; the last may count in part.
    init(_ extent: Float, of size: Int, to newSize: Int, _ filter: Filter) {
        let scale = Double(extent) / Double(newSize), stretch = max(scale, 1), reach = filter.reach * stretch
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

    func sum(_ place: Int, _ values: [Float], at start: Int, step: Int) -> Float {
        Float(exact[place].enumerated().reduce(0) { $0 + Double(values[start + $1.offset * step]) * $1.element })
    }
}

extension Picture {
    /// The bytes as float32 in [0, 1], the rows as they are.
    public var unitRange: [Float] { bytes.map { Float($0) / 255 } }
}
