"""The OPC UA server: who may enter, what there is to see, what is told, what was, what happens, what can be called."""
