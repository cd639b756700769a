//go:build linux

package imagetest

// libraryAppliesRoot says that this version of the storage library gives a layer's root directory what an archive has of it.
const libraryAppliesRoot = false
