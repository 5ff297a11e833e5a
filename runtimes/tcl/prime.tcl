puts ready
