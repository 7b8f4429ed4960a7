// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Checks, log_named_uint, vm} from "./Vm.sol";

/// @notice What whole transactions cost, held against a file: none may grow by more than 3 %, and none may exceed its bar.
/// `npm run gas` prints them, `GAS_WRITE=true npm run gas` writes the files anew.
abstract contract Measured is Checks {
    string[] private _names;
    mapping(string name => uint256) internal _gas;

    /// @dev The file, in this folder's root.
    function _file() internal pure virtual returns (string memory);

    /// @dev The last call's gas, under this name.
    function _note(string memory name) internal {
        _names.push(name);
        _gas[name] = vm.lastCallGas().gasTotalUsed;
    }

    function _bar(string memory name, uint256 most) internal {
        emit log_named_uint(string.concat("of at most ", vm.toString(most), " for ", name), _gas[name]);
        yes(string.concat(name, " takes ", vm.toString(_gas[name])), _gas[name] <= most);
    }

    function _compare() internal {
        if (vm.envOr("GAS_WRITE", false)) _write();
        string memory kept = vm.readFile(_file());
        for (uint256 i = 0; i < _names.length; ++i) {
            uint256 gas = _gas[_names[i]];
            emit log_named_uint(_names[i], gas);
            uint256 before = vm.parseJsonUint(kept, string.concat(".", _names[i]));
            yes(string.concat(_names[i], " takes ", vm.toString(gas)), gas * 100 <= before * 103);
        }
    }

    function _write() private {
        string memory text = "{";
        for (uint256 i = 0; i < _names.length; ++i) {
            string memory line = string.concat(i == 0 ? "\n  \"" : ",\n  \"", _names[i], "\": ");
            text = string.concat(text, line, vm.toString(_gas[_names[i]]));
        }
        vm.writeFile(_file(), string.concat(text, "\n}\n"));
    }
}
