// Package whiteout reads and writes what a layer's directory takes away from the layers below it, in aufs form and in overlay form, and
// brings a layer from one form into the other.
package whiteout
