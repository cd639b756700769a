// Package owners changes the owners of all files of a layer, in such a way that the change can be finished after a
// crash.
package owners
