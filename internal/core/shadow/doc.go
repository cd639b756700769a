// Package shadow finds out what shadows a layer needs in a stack of a backend that reads the other form, and makes them.
package shadow
