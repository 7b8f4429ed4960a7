// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {vm} from "./Vm.sol";

/// @notice A file of golden vectors, read key by key. Each read is a call of its own, since memory is never given back.
contract Vectors {
    string private _file;

    constructor(string memory name) {
        _file = string.concat("../tests/vectors/", name, ".json");
    }

    function has(string calldata key) external view returns (bool) {
        return vm.keyExistsJson(vm.readFile(_file), key);
    }

    function number(string calldata key) external view returns (uint256) {
        return vm.parseJsonUint(vm.readFile(_file), key);
    }

    function account(string calldata key) external view returns (address) {
        return vm.parseJsonAddress(vm.readFile(_file), key);
    }

    function text(string calldata key) external view returns (string memory) {
        return vm.parseJsonString(vm.readFile(_file), key);
    }

    function word(string calldata key) external view returns (bytes32) {
        return vm.parseJsonBytes32(vm.readFile(_file), key);
    }

    function words(string calldata key) external view returns (bytes32[] memory) {
        return vm.parseJsonBytes32Array(vm.readFile(_file), key);
    }

    function numbers(string calldata key) external view returns (uint256[] memory) {
        return vm.parseJsonUintArray(vm.readFile(_file), key);
    }

    function raw(string calldata key) external view returns (bytes memory) {
        return vm.parseJsonBytes(vm.readFile(_file), key);
    }

    function flag(string calldata key) external view returns (bool) {
        return vm.parseJsonBool(vm.readFile(_file), key);
    }

    /// @notice How many entries a list has.
    function count(string calldata key) external view returns (uint256 n) {
        string memory json = vm.readFile(_file);
        while (vm.keyExistsJson(json, string.concat(key, "[", vm.toString(n), "]"))) ++n;
    }
}
