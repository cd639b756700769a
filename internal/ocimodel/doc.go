// Package ocimodel says what the layers of an OCI image mean, for tests to compare a driver with. It applies archives to a tree in memory, as
// layer.md of the image specification describes it (github.com/opencontainers/image-spec), and knows no driver and no library.
//
// The whiteouts and opaque marks of a layer are about the layers below it, wherever in the archive they are. They come first, and the
// entries of the layer after them.
//
// The specification says little of directories that an archive names only in the paths of other entries. Such an implied directory is the
// one of the layers below, if they have one, and keeps its metadata. Where they have none, it is a new one of mode 0755 that belongs to
// root; but if it holds nothing but whiteouts, it is nothing.
//
// The specification forbids an archive to have a name twice. Here the last entry counts, and two directories are one.
//
// A stack of layers can be written as a text: see Parse.
package ocimodel
