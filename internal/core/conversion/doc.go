// Package conversion converts layers, in place, from one form of whiteouts to the other.
package conversion
