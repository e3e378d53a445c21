"""The accelerated activation, as a function and as a Keras layer."""
