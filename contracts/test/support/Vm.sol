// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The test runner's own calls that these tests use; the whole list is in its book.
interface Vm {
    struct Log {
        bytes32[] topics;
        bytes data;
        address emitter;
    }

    struct Gas {
        uint64 gasLimit;
        uint64 gasTotalUsed;
        uint64 gasMemoryUsed;
        int64 gasRefunded;
        uint64 gasRemaining;
    }

    function addr(uint256 key) external pure returns (address);
    function sign(uint256 key, bytes32 digest) external pure returns (uint8 v, bytes32 r, bytes32 s);
    function prank(address caller) external;
    function startPrank(address caller) external;
    function stopPrank() external;
    function warp(uint256 timestamp) external;
    function roll(uint256 number) external;
    function getBlockNumber() external view returns (uint256);
    function setBlockhash(uint256 number, bytes32 hash) external;
    function chainId(uint256 id) external;
    function deployCode(string calldata path, bytes calldata arguments) external returns (address);
    function getCode(string calldata path) external view returns (bytes memory);
    function etch(address at, bytes calldata code) external;
    function load(address at, bytes32 slot) external view returns (bytes32);
    function assume(bool condition) external pure;
    function expectRevert() external;
    function expectRevert(bytes calldata reason) external;
    function expectEmit(address emitter) external;
    function expectPartialRevert(bytes4 selector) external;
    function snapshotState() external returns (uint256 id);
    function revertToState(uint256 id) external returns (bool);
    function recordLogs() external;
    function getRecordedLogs() external returns (Log[] memory);
    function lastCallGas() external view returns (Gas memory);
    function envOr(string calldata name, bool otherwise) external view returns (bool);
    function exists(string calldata path) external returns (bool);
    function readFile(string calldata path) external view returns (string memory);
    function writeFile(string calldata path, string calldata text) external;
    function toString(uint256 value) external pure returns (string memory);
    function toString(address value) external pure returns (string memory);
    function toString(bytes32 value) external pure returns (string memory);
    function keyExistsJson(string calldata json, string calldata key) external view returns (bool);
    function parseJsonUint(string calldata json, string calldata key) external pure returns (uint256);
    function parseJsonBool(string calldata json, string calldata key) external pure returns (bool);
    function parseJsonUintArray(string calldata json, string calldata key) external pure returns (uint256[] memory);
    function parseJsonAddress(string calldata json, string calldata key) external pure returns (address);
    function parseJsonBytes32(string calldata json, string calldata key) external pure returns (bytes32);
    function parseJsonBytes32Array(string calldata json, string calldata key) external pure returns (bytes32[] memory);
    function parseJsonBytes(string calldata json, string calldata key) external pure returns (bytes memory);
    function parseJsonString(string calldata json, string calldata key) external pure returns (string memory);
}

Vm constant vm = Vm(address(uint160(uint256(keccak256("hevm cheat code")))));

// The runner prints these beside a test's name from `-vv` on.
event log_named_uint(string name, uint256 value);

error NotEqual(string what, uint256 got, uint256 expected);
error NotTrue(string what);

/// @notice What a test asserts with.
abstract contract Checks {
    function eq(string memory what, uint256 got, uint256 expected) internal pure {
        if (got != expected) revert NotEqual(what, got, expected);
    }

    function eq(string memory what, address got, address expected) internal pure {
        eq(what, uint160(got), uint160(expected));
    }

    function eq(string memory what, bytes32 got, bytes32 expected) internal pure {
        eq(what, uint256(got), uint256(expected));
    }

    function yes(string memory what, bool condition) internal pure {
        if (!condition) revert NotTrue(what);
    }

    function within(uint256 value, uint256 min, uint256 max) internal pure returns (uint256) {
        return min + value % (max - min + 1);
    }
}
