// swift-tools-version: 5.9
import PackageDescription

let package = Package(
    name: "EdgeVisionKit",
    platforms: [.iOS(.v17), .macOS(.v14)],
    products: [.library(name: "EdgeVisionKit", targets: ["EdgeVisionKit"])],
    targets: [
        .target(name: "EdgeVisionKit"),
        .testTarget(name: "EdgeVisionKitTests", dependencies: ["EdgeVisionKit"]),
    ]
)
