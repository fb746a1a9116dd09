"""What runs upstream: the fleet service, its PKI, the model repository and the compiler."""
