import Foundation

extension Picture {
    /// A drawn digit as MNIST has it, and as `edgevision classify` makes it: white on black, cut out, its longer
    /// side scaled to 20 of 28 pixels, its centre of mass in the middle. Nil where nothing is drawn.
    ///
    /// The picture is grey, clean white on black, as a canvas gives it; 28 x 28 pixels are taken as they are.
    public func digit(side: Int = 28) -> Picture? {
        precondition(channels == 1)
        guard let most = bytes.max(), most >= 8 else { return nil }
        if width == side, height == side { return self }
        let ink = bytes.map { Double($0) < 0.08 * Double(most) ? 0 : Double($0) / Double(most) }
        let rows = (0..<height).filter { row in (0..<width).contains { ink[row * width + $0] > 0.25 } }
        let columns = (0..<width).filter { column in (0..<height).contains { ink[$0 * width + column] > 0.25 } }
        let (top, left) = (rows[0], columns[0])
        let (high, wide) = (rows[rows.count - 1] - top + 1, columns[columns.count - 1] - left + 1)
        let cut = (0..<high).flatMap { row in (0..<wide).map { ink[(top + row) * width + left + $0] } }

        let scale = 20 * Double(side) / 28 / Double(max(high, wide))
        let fit = { (length: Int) in max(1, Int((Double(length) * scale).rounded(.toNearestOrEven))) }
        let filter = scale > 1 ? Filter.bicubic : .box
        var small = scaled(cut.map(Float.init), wide, high, to: fit(wide), fit(high), filter).map(Double.init)
        let peak = max(small.max() ?? 0, 1e-6)
        small = small.map { min(max($0 / peak, 0), 1) }
        return placed(small, fit(wide), fit(high), side)
    }
}

/// In the middle of side x side pixels by its centre of mass.
private func placed(_ ink: [Double], _ width: Int, _ height: Int, _ side: Int) -> Picture {
    let mass = ink.reduce(0, +)
    let y = ink.enumerated().reduce(0) { $0 + $1.element * Double($1.offset / width) } / mass
    let x = ink.enumerated().reduce(0) { $0 + $1.element * Double($1.offset % width) } / mass
    let start = { (centre: Double, length: Int) in
        min(max(Int((Double(side) / 2 - centre).rounded(.toNearestOrEven)), 0), side - length)
    }
    let (top, left) = (start(y, height), start(x, width))
    var bytes = [UInt8](repeating: 0, count: side * side)
    for row in 0..<height {
        for column in 0..<width {
            let value = (ink[row * width + column] * 255).rounded(.toNearestOrEven)
            bytes[(top + row) * side + left + column] = UInt8(value)
        }
    }
    return Picture(width: side, height: side, channels: 1, bytes: bytes)
}

/// Pillow's resize of numbers that are no bytes.
private func scaled(
    _ values: [Float], _ width: Int, _ height: Int, to newWidth: Int, _ newHeight: Int, _ filter: Filter
) -> [Float] {
    func acrossColumns(_ values: [Float]) -> [Float] {
        let weights = Weights(Float(width), of: width, to: newWidth, filter)
        if newWidth == width { return values }
        return (0..<(values.count / width * newWidth)).map { place in
            let (row, column) = place.quotientAndRemainder(dividingBy: newWidth)
            return weights.sum(column, values, at: row * width + weights.first[column], step: 1)
        }
    }
    func acrossRows(_ values: [Float]) -> [Float] {
        let weights = Weights(Float(height), of: height, to: newHeight, filter), line = values.count / height
        if newHeight == height { return values }
        return (0..<(newHeight * line)).map { place in
            let (row, column) = place.quotientAndRemainder(dividingBy: line)
            return weights.sum(row, values, at: weights.first[row] * line + column, step: line)
        }
    }
    return isMuchHigher(width, height, newWidth, newHeight)
        ? acrossColumns(acrossRows(values)) : acrossRows(acrossColumns(values))
}
