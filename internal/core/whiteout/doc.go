// Package whiteout reads and writes the whiteouts and opaque directories by which a layer hides what the layers below it have. It knows
// aufs form and overlay form, and converts a layer from one form to the other.
package whiteout
