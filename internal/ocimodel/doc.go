// Package ocimodel says what the layers of an OCI image mean, so that tests can compare a driver with it. It applies
// archives to a tree in memory, as layer.md of the image specification describes it
// (github.com/opencontainers/image-spec), and knows no driver and no library.
//
// The whiteouts and opaque marks of a layer hide files of the layers below, wherever in the archive they are. They are
// applied first, and the entries of the layer after them.
//
// The specification says little about directories that an archive names only in the paths of other entries. If the layers below have a
// directory of that name, such an implied directory is that one, and keeps its metadata. Otherwise it is a new directory of mode 0755 that
// belongs to root; but if it holds only whiteouts, it does not exist.
//
// The specification forbids an archive to have a name twice. Here the last entry counts, and two directories of one
// name are one directory.
//
// A stack of layers can be written as a text: see Parse.
package ocimodel
