// swift-tools-version: 5.9
// The sources of EdgeVisionKit with stand-ins for Apple's frameworks, which the test puts beside them.
import PackageDescription

let package = Package(
    name: "Standins",
    targets: [
        .target(name: "CoreVideo"),
        .target(name: "CoreML", dependencies: ["CoreVideo"]),
        .target(name: "CoreAI"),
        .target(name: "EdgeVisionKit", dependencies: ["CoreAI", "CoreML", "CoreVideo"]),
        .executableTarget(name: "Drive", dependencies: ["EdgeVisionKit"]),
    ]
)
